{{- /* Name of the objects, and of the label that selects the daemon's pods. */}}
{{- define "secretfs.name" -}}
{{ .Values.nameOverride }}
{{- end }}

{{- define "secretfs.keeperName" -}}
{{ .Values.nameOverride }}-keeper
{{- end }}

{{- /* The directory of the keeper's socket; not in the run directory, where the mounts are. */}}
{{- define "secretfs.keeperDir" -}}
{{ .Values.runDir }}-keeper
{{- end }}

{{- define "secretfs.releaseLabels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "secretfs.labels" -}}
{{ include "secretfs.releaseLabels" . }}
app.kubernetes.io/name: {{ include "secretfs.name" . }}
{{- end }}

{{- define "secretfs.keeperLabels" -}}
{{ include "secretfs.releaseLabels" . }}
app.kubernetes.io/name: {{ include "secretfs.keeperName" . }}
{{- end }}

{{- define "secretfs.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* The kubelet's paths as YAML: the preset, with what the values say otherwise. */}}
{{- define "secretfs.kubelet" -}}
{{- $preset := get (.Files.Get "files/kubelets.yaml" | fromYaml) .Values.kubelet.preset }}
rootDir: {{ .Values.kubelet.rootDir | default $preset.rootDir }}
kubeconfig: {{ .Values.kubelet.kubeconfig | default $preset.kubeconfig }}
certificates: {{ .Values.kubelet.certificates | default $preset.certificates }}
{{- end }}

{{- /* The daemon's service account as the subject of a binding. */}}
{{- define "secretfs.subjects" -}}
- kind: ServiceAccount
  name: {{ include "secretfs.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* A ClusterRole and its binding: (dict "context" $ "suffix" NAME "rules" RULES "namespaces" LIST).
With namespaces, a RoleBinding in each of them takes the place of the ClusterRoleBinding. */}}
{{- define "secretfs.role" -}}
{{- $name := printf "%s-%s" (include "secretfs.name" .context) .suffix }}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $name }}
  labels:
    {{- include "secretfs.labels" .context | nindent 4 }}
rules:
  {{- toYaml .rules | nindent 2 }}
{{- range $namespace := .namespaces | default (list "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne $namespace "") }}
metadata:
  name: {{ $name }}
  {{- if $namespace }}
  namespace: {{ $namespace }}
  {{- end }}
  labels:
    {{- include "secretfs.labels" $.context | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
  {{- include "secretfs.subjects" $.context | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Prometheus on another host does not reach the loopback address. */}}
{{- define "secretfs.checkMetrics" -}}
{{- if or (hasPrefix "127." .Values.metrics.address) (eq .Values.metrics.address "[::1]") }}
{{- fail (printf "metrics.address is %s, which Prometheus does not reach: set it to $(HOST_IP) or 0.0.0.0" .Values.metrics.address) }}
{{- end }}
{{- end }}
