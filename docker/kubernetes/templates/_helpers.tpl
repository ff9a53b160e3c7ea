{{- define "nightloom.labels" -}}
app.kubernetes.io/name: nightloom
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* What never changes of a role's pods: (dict "root" $ "role" "serving"). */}}
{{- define "nightloom.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "nightloom.image" -}}
image: {{ printf "%snightloom/%s:%s" .root.Values.registry .role .root.Values.tag | quote }}
imagePullPolicy: {{ .root.Values.pullPolicy }}
{{- end }}

{{- define "nightloom.environment" -}}
envFrom:
  - configMapRef: {name: {{ .Release.Name }}-environment}
  - secretRef: {name: {{ .Values.secret }}}
{{- end }}

{{- define "nightloom.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "nightloom.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* The folders that a role writes to are empty ones; the rest of its file system is read-only. */}}
{{- define "nightloom.mounts" -}}
volumeMounts:
  - {name: settings, mountPath: /project/nightloom.toml, subPath: nightloom.toml, readOnly: true}
  - {name: scratch, mountPath: /var/lib/nightloom}
  - {name: tmp, mountPath: /tmp}
  - {name: cache, mountPath: /home/nightloom/.cache}
{{- end }}

{{- define "nightloom.volumes" -}}
volumes:
  - name: settings
    configMap: {name: {{ .Release.Name }}-settings}
  - {name: scratch, emptyDir: {}}
  - {name: tmp, emptyDir: {}}
  - {name: cache, emptyDir: {}}
{{- end }}
