{{- define "plexus.labels" -}}
app.kubernetes.io/name: plexus-scoring
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "plexus.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else if .Values.image.tag -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- else -}}
{{ fail "set image.digest (or image.tag): which image is to run" }}
{{- end -}}
{{- end }}

{{- define "plexus.check" -}}
{{- $needed := add .Values.drainSeconds .Values.preStopSeconds 5 -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $needed) -}}
{{ fail (printf "terminationGracePeriodSeconds is %d: must be at least %d (drainSeconds + preStopSeconds + 5), or jobs in flight are killed" (int .Values.terminationGracePeriodSeconds) (int $needed)) }}
{{- end -}}
{{- $store := .Values.settings.PLEXUS_STORE | default "" -}}
{{- if and .Values.upgradeDatabase $store (ne $store "sql") -}}
{{ fail (printf "upgradeDatabase is true and settings.PLEXUS_STORE is %s, which has no tables to upgrade: set upgradeDatabase to false" $store) }}
{{- end -}}
{{- end }}

{{- define "plexus.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
