{{- define "animochat.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "animochat.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "animochat.labels" -}}
{{ include "animochat.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "animochat.secret" -}}
{{- if not (or .Values.existingSecret .Values.secrets.REDIS_URL) }}
{{- fail "\n\nAniMoChat needs a store, and this chart brings none: Redis 6.2 or later, or Valkey.\nSet secrets.REDIS_URL to its address (redis://..., docs/stores.md), or existingSecret to the name of a Secret\nthat has REDIS_URL, SECRET_KEY, ADMIN_TOKEN and METRICS_TOKEN.\n" }}
{{- end }}
{{- .Values.existingSecret | default (include "animochat.name" .) }}
{{- end }}
