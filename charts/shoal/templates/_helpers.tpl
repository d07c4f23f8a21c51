{{/* Name of the operator's objects. */}}
{{- define "shoal.name" -}}
{{ printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of its service account. */}}
{{- define "shoal.serviceAccount" -}}
{{ default (include "shoal.name" .) .Values.serviceAccount.name }}
{{- end }}

{{/* Which pods are the operator's. The name is what shards' NetworkPolicies let in. */}}
{{- define "shoal.selector" -}}
app.kubernetes.io/name: shoal-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "shoal.labels" -}}
{{ include "shoal.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: shoal
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Images; an empty tag is the chart's appVersion. */}}
{{- define "shoal.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- define "shoal.dataPlaneImage" -}}
{{ .Values.dataPlaneImage.repository }}:{{ default .Chart.AppVersion .Values.dataPlaneImage.tag }}
{{- end }}

{{/* What the restricted pod security standard asks of a pod, and of a container. */}}
{{- define "shoal.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "shoal.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
