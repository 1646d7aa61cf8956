{{- /*
The pod that fills a claim with weights, as a Job's template. Call with (list $ NAME),
NAME that of the ConfigMap with the list; without it the text is what NAME is made from.
*/ -}}
{{- define "pose-operator.weightsPod" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $w := $root.Values.engines.phalp.weights -}}
metadata:
  labels:
    # Not the manager's: its Service and disruption budget select by those.
    app.kubernetes.io/name: pose-weights
    app.kubernetes.io/instance: {{ $root.Release.Name }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.config.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    # The group of the engine's container, which reads what is written here.
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: fill
      image: {{ include "pose-operator.image" (list $root $root.Values.image.runner) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [fill, --config=/etc/pose-weights/weights.json, --target=/weights]
      resources:
        requests: {cpu: 100m, memory: 256Mi}
        limits: {memory: 256Mi}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - {name: weights, mountPath: /weights}
        - {name: list, mountPath: /etc/pose-weights, readOnly: true}
        {{- if $w.fill.credentialsSecretName }}
        - {name: credentials, mountPath: /pose/credentials, readOnly: true}
        {{- end }}
  volumes:
    - name: weights
      persistentVolumeClaim:
        claimName: {{ $w.claimName }}
    - name: list
      configMap:
        name: {{ $name }}
    {{- with $w.fill.credentialsSecretName }}
    - name: credentials
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
{{- end -}}
