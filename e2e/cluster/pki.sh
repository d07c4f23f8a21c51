# shellcheck shell=bash
# Certificates and kubeconfigs, made new at each start and valid for a month. Sourced.

pki_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1" 2>/dev/null; }

pki_certificate() { # NAME SUBJECT SUBJECT-ALT-NAMES
  local at=$RUN/pki/$1
  pki_key "$at.key"
  openssl req -new -key "$at.key" -out "$at.csr" -subj "$2"
  openssl x509 -req -in "$at.csr" -CA "$RUN/pki/ca.crt" -CAkey "$RUN/pki/ca.key" -CAcreateserial -days 30 \
    -out "$at.crt" -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=clientAuth,serverAuth' "$3") 2>/dev/null
}

# Certificates are embedded, so that the file can be handed to a program on its own.
pki_kubeconfig() { # NAME (of its certificate)
  local at=$RUN/pki
  ( umask 077; cat > "$RUN/$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters:
- name: shoal
  cluster: {server: "https://$API:6443", certificate-authority-data: $(base64 -w0 < "$at/ca.crt")}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 < "$at/$1.crt"), client-key-data: $(base64 -w0 < "$at/$1.key")}
contexts:
- name: shoal
  context: {cluster: shoal, user: $1}
current-context: shoal
Y
  )
}

pki_client() { # NAME SUBJECT
  pki_certificate "$1" "$2" DNS:none
  pki_kubeconfig "$1"
}

pki_make() {
  mkdir -p "$RUN/pki"
  pki_key "$RUN/pki/ca.key"
  openssl req -x509 -new -key "$RUN/pki/ca.key" -days 30 -out "$RUN/pki/ca.crt" -subj /CN=shoal-cluster-ca
  pki_certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes.default.svc,DNS:kubernetes.default,DNS:kubernetes,DNS:localhost,IP:$API,IP:${SERVICES%.*}.1"
  pki_certificate kubelet-client /O=system:masters/CN=kubelet-client DNS:none
  pki_client admin /O=system:masters/CN=admin
  pki_client disks /O=system:masters/CN=local-path-provisioner
  local name
  for name in kube-controller-manager kube-scheduler kube-proxy; do pki_client "$name" "/CN=system:$name"; done
  for name in $(node_names); do
    pki_certificate "$name" "/O=system:nodes/CN=system:node:$name" "DNS:$name,IP:198.18.0.1${name#node}"
    pki_kubeconfig "$name"
  done
  openssl genrsa -out "$RUN/pki/sa.key" 2048 2>/dev/null
  openssl rsa -in "$RUN/pki/sa.key" -pubout -out "$RUN/pki/sa.pub" 2>/dev/null
}
