{{- /* The chart is there once in a cluster: the admission policies, the CRDs and the webhook have fixed names. */ -}}

{{- define "hitl.name" -}}hitl-operator{{- end }}

{{- define "hitl.selector" -}}
app.kubernetes.io/name: hitl-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "hitl.labels" -}}
{{ include "hitl.selector" . }}
{{ include "hitl.common" . }}
{{- end }}

{{- /* What every object has that is not shipped as it is. */ -}}
{{- define "hitl.common" -}}
app.kubernetes.io/part-of: hitl
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end }}

{{- /* Argo CD waits for one wave to be healthy before the next, and removes the last one first: policies, then the
       operator, then what sends pods through it. */ -}}
{{- define "hitl.wave" -}}argocd.argoproj.io/sync-wave: {{ . | quote }}{{- end }}

{{- /* An image by digest, else by tag: list of its values and the version of the chart. */ -}}
{{- define "hitl.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end }}
{{- end }}

{{- define "hitl.operatorImage" -}}{{ include "hitl.image" (list .Values.image .Chart.AppVersion) }}{{- end }}
{{- define "hitl.sidecarImage" -}}{{ include "hitl.image" (list .Values.sidecar.image .Chart.AppVersion) }}{{- end }}

{{- /* The name in the operator's certificate, and where sidecars call it. */ -}}
{{- define "hitl.host" -}}{{ include "hitl.name" . }}.{{ .Release.Namespace }}.svc{{- end }}

{{- /* A list as CEL has it. */ -}}
{{- define "hitl.listed" -}}
[{{ range $at, $word := . }}{{ if $at }}, {{ end }}'{{ $word }}'{{ end }}]
{{- end }}

{{- /* The Secret with the certificate; empty where the operator makes its own. */ -}}
{{- define "hitl.certificateSecret" -}}
{{- if eq .Values.certificates.source "cert-manager" -}}
{{ .Values.certificates.secretName | default "hitl-operator-tls" }}
{{- else if eq .Values.certificates.source "files" -}}
{{ .Values.certificates.secretName }}
{{- end }}
{{- end }}

{{- /* What runs as nobody, writes nowhere but into volumes, and may be in a namespace of Pod Security `restricted`. */ -}}
{{- define "hitl.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "hitl.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
