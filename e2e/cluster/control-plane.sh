# shellcheck shell=bash
# etcd, the API server, the controllers, the scheduler, and the disk provisioner, as processes in the control plane's
# network namespace: killing a node never takes one of them along. Sourced.

# Writes by service accounts outside kube-system are audited, so that tests can count what the operator writes.
start_api_server() {
  daemon "$CONTROL_PLANE" kube-apiserver "$BIN/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
    --advertise-address "$API" --bind-address "$API" --service-cluster-ip-range "$SERVICES" \
    --tls-cert-file "$RUN/pki/apiserver.crt" --tls-private-key-file "$RUN/pki/apiserver.key" \
    --client-ca-file "$RUN/pki/ca.crt" --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction --allow-privileged=true \
    --service-account-key-file "$RUN/pki/sa.pub" --service-account-signing-key-file "$RUN/pki/sa.key" \
    --service-account-issuer https://kubernetes.default.svc \
    --kubelet-certificate-authority "$RUN/pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$RUN/pki/kubelet-client.crt" --kubelet-client-key "$RUN/pki/kubelet-client.key" \
    --audit-policy-file "$HERE/manifests/audit-policy.yaml" --audit-log-path "$RUN/log/audit.log"
}

# Without fsync: the cluster lives as long as this machine is up, and shoal's own fsyncs keep the disk to themselves.
start_etcd() {
  daemon "$CONTROL_PLANE" etcd "$BIN/etcd" --data-dir "$RUN/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
}

start_controllers() {
  # Nodes that stop reporting are NotReady after 20 s instead of 40 s.
  daemon "$CONTROL_PLANE" kube-controller-manager "$BIN/kube-controller-manager" \
    --kubeconfig "$RUN/kube-controller-manager.kubeconfig" --use-service-account-credentials \
    --service-account-private-key-file "$RUN/pki/sa.key" --root-ca-file "$RUN/pki/ca.crt" \
    --leader-elect=false --node-monitor-grace-period 20s
  daemon "$CONTROL_PLANE" kube-scheduler "$BIN/kube-scheduler" --kubeconfig "$RUN/kube-scheduler.kubeconfig" \
    --leader-elect=false
  daemon "$CONTROL_PLANE" local-path-provisioner "$BIN/local-path-provisioner" start --worker-threads 4 \
    --kubeconfig "$RUN/disks.kubeconfig" --config "$HERE/manifests/disks.json" --namespace local-path-storage \
    --helper-image localhost/busybox:1
}

start_control_plane() {
  start_etcd
  start_api_server
  until_true k get --raw /readyz
  k create clusterrolebinding kube-proxy --clusterrole system:node-proxier --user system:kube-proxy >/dev/null
  k apply -f "$HERE/manifests/disks.yaml" >/dev/null
  start_controllers
  # Services answer in the control plane's namespace too, where tests and kubectl run.
  start_proxy "$CONTROL_PLANE" control-plane
}

start_proxy() { # NETNS HOSTNAME
  daemon "$1" "kube-proxy-$2" "$BIN/kube-proxy" --kubeconfig "$RUN/kube-proxy.kubeconfig" --hostname-override "$2" \
    --cluster-cidr 198.18.0.0/16 --proxy-mode nftables --metrics-bind-address 127.0.0.1:10249 \
    --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
}
