{{- define "tcpwhy.name" -}}
{{- if contains "tcpwhy" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-tcpwhy{{ end }}
{{- end }}

{{- define "tcpwhy.selector" -}}
app.kubernetes.io/name: tcpwhy
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tcpwhy.labels" -}}
{{ include "tcpwhy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "tcpwhy.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}
