{{- define "pose-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* The prefix of all names, short enough for the longest suffix. */ -}}
{{- define "pose-operator.fullname" -}}
{{- $name := include "pose-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pose-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pose-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pose-operator.labels" -}}
{{ include "pose-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Other selector labels than the manager's, whose Service must not select it. */ -}}
{{- define "pose-operator.gatewaySelectorLabels" -}}
app.kubernetes.io/name: pose-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pose-operator.gatewayLabels" -}}
{{ include "pose-operator.gatewaySelectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "pose-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pose-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* An image's reference. Call with (list $ .Values.image.manager). */ -}}
{{- define "pose-operator.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Where pods reach the manager; the name stands in its certificate too. */ -}}
{{- define "pose-operator.progressHost" -}}
{{- printf "%s-progress.%s.svc" (include "pose-operator.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- /* The manager's configuration file, see docs/configuration.md. */ -}}
{{- define "pose-operator.config" -}}
{{- $c := .Values.config -}}
images:
  runner: {{ include "pose-operator.image" (list . .Values.image.runner) | quote }}
  media: {{ include "pose-operator.image" (list . .Values.image.media) | quote }}
  pullPolicy: {{ .Values.image.pullPolicy }}
  {{- with $c.imagePullSecrets }}
  pullSecrets: {{ toJson . }}
  {{- end }}
store:
  s3Endpoint: {{ $c.store.s3Endpoint | quote }}
  s3Region: {{ $c.store.s3Region | quote }}
  s3PathStyle: {{ $c.store.s3PathStyle }}
  {{- range $name := list "gcsEndpoint" "azureAccount" "azureEndpoint" }}
  {{- with index $c.store $name }}
  {{ $name }}: {{ . | quote }}
  {{- end }}
  {{- end }}
  workloadIdentity: {{ $c.store.workloadIdentity }}
  {{- with $c.store.caBundle }}
  caBundle: |
    {{- . | trim | nindent 4 }}
  {{- end }}
  {{- with $c.store.httpAllowedHosts }}
  httpAllowedHosts: {{ toJson . }}
  {{- end }}
policy:
  {{- range $list := list "serviceAccountNames" "priorityClassNames" "runtimeClassNames" "tolerationKeys" "outputPrefixes" "imageRepositories" }}
  {{ $list }}: {{ index $c.policy $list | toJson }}
  {{- end }}
  enginesWithoutRunner: {{ $c.policy.enginesWithoutRunner }}
reuse:
  default: {{ $c.reuse.default }}
  crossNamespace: {{ $c.reuse.crossNamespace }}
batches:
  disabled: {{ $c.batches.disabled }}
learning:
  disabled: {{ $c.learning.disabled }}
  singleTenant: {{ $c.learning.singleTenant }}
progress:
  writesPerSecond: {{ .Values.progress.writesPerSecond }}
limits:
  videoBytes: {{ int64 $c.limits.videoBytes }}
  framePixels: {{ int64 $c.limits.framePixels }}
  frames: {{ int64 $c.limits.frames }}
{{- end -}}

{{- /* Where places lie, for pods of the chart's own that run pose-runner: a StoreConfig as a dict. */ -}}
{{- define "pose-operator.store" -}}
{{- $s := .Values.config.store -}}
{{- toJson (dict "s3Endpoint" $s.s3Endpoint "s3Region" $s.s3Region "s3PathStyle" $s.s3PathStyle "gcsEndpoint" $s.gcsEndpoint "azureAccount" $s.azureAccount "azureEndpoint" $s.azureEndpoint "workloadIdentity" $s.workloadIdentity "caPEM" $s.caBundle "httpAllowedHosts" $s.httpAllowedHosts) -}}
{{- end -}}

{{- /* Metadata of a PoseEngine. Call with (list $ NAME EXTRA), EXTRA a dict with labels and annotations. */ -}}
{{- define "pose-operator.engineMetadata" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $extra := index . 2 -}}
{{- $annotations := deepCopy ($extra.annotations | default dict) -}}
{{- if eq $name $root.Values.defaultEngine -}}
{{- $_ := set $annotations "pose.dev/is-default-engine" "true" -}}
{{- end -}}
name: {{ $name }}
labels:
  {{- include "pose-operator.labels" $root | nindent 2 }}
  {{- with $extra.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* What a values section of a variant says about its pods and its pace. */ -}}
{{- define "pose-operator.variantPods" -}}
{{- with .resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .maxMemory }}
maxMemory: {{ . }}
{{- end }}
{{- with .activeDeadlineSeconds }}
activeDeadlineSeconds: {{ int64 . }}
{{- end }}
{{- with .estimate }}
{{- if .milliFPS }}
estimate:
  loadSeconds: {{ int64 (.loadSeconds | default 0) }}
  milliFPS: {{ int64 .milliFPS }}
  {{- with .typicalMilliFPS }}
  typicalMilliFPS: {{ int64 . }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- end -}}
