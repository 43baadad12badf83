{{/* Labels by which a part's pods are found. Arguments: root, part. */}}
{{- define "pipeline-jobs.selector" -}}
app.kubernetes.io/name: pipeline-jobs
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "pipeline-jobs.meta" -}}
name: {{ .root.Release.Name }}-{{ .part }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "pipeline-jobs.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "pipeline-jobs.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* Two of a part are on two nodes where there are two. */}}
{{- define "pipeline-jobs.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "pipeline-jobs.meta" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "pipeline-jobs.selector" . | nindent 6 }}
{{- end }}

{{/*
A Deployment of ours. Arguments: root, part, command, resources, and where they are not the usual: replicas (1), scaled, recreate, grace,
ports (name to number), probes, env, account, workSize, nodeSelector, tolerations, lifecycle.
*/}}
{{- define "pipeline-jobs.deployment" -}}
{{- $values := .root.Values -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "pipeline-jobs.meta" . | nindent 2 }}
spec:
  {{- /* Of the workers KEDA says how many. */}}
  {{- if not .scaled }}
  replicas: {{ if hasKey . "replicas" }}{{ .replicas }}{{ else }}1{{ end }}
  {{- end }}
  {{- if .recreate }}
  strategy: {type: Recreate}
  {{- else }}
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  {{- end }}
  selector:
    matchLabels:
      {{- include "pipeline-jobs.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "pipeline-jobs.selector" . | nindent 8 }}
    spec:
      # A Service of any name would put variables into the environment that look like settings of ours.
      enableServiceLinks: false
      # Jobs of tenants find no key to the cluster.
      automountServiceAccountToken: {{ if .account }}true{{ else }}false{{ end }}
      {{- with .account }}
      serviceAccountName: {{ . }}
      {{- end }}
      {{- with $values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      terminationGracePeriodSeconds: {{ .grace | default 30 }}
      securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
      {{- with merge (dict) (.nodeSelector | default dict) $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with concat (.tolerations | default list) $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "pipeline-jobs.selector" . | nindent 14 }}
      containers:
        - name: {{ .part }}
          image: {{ include "pipeline-jobs.image" .root }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          command:
            {{- toYaml .command | nindent 12 }}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          env:
            - {name: ENABLE_PIPELINE_JOB_QUEUE, value: "1"}
            - {name: ENABLE_PIPELINE_RUN_API, value: "1"}
            # From containers every request has another address: keys are asked for from the first moment.
            - {name: PIPELINE_REQUIRE_KEYS, value: "1"}
            - {name: PIPELINE_PUBLIC_URL, value: {{ $values.publicUrl | quote }}}
            - {name: PIPELINE_MAX_CONCURRENT_JOBS, value: {{ mul $values.worker.slots $values.worker.maxReplicas | quote }}}
            - {name: PIPELINE_METRICS_HOST, value: 0.0.0.0}
            - {name: PIPELINE_REDIS_URL, valueFrom: {secretKeyRef: {name: {{ $values.secret }}, key: redis-url}}}
            - {name: PIPELINE_SECRET_KEY, valueFrom: {secretKeyRef: {name: {{ $values.secret }}, key: secret-key}}}
            {{- range $name, $value := $values.env }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
            {{- range .env }}
            - {{ toJson . }}
            {{- end }}
          {{- with $values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- with .ports }}
          ports:
            {{- range $name, $number := . }}
            - {name: {{ $name }}, containerPort: {{ $number }}}
            {{- end }}
          {{- end }}
          {{- with .lifecycle }}
          lifecycle:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- range $kind, $probe := .probes }}
          {{ $kind }}:
            {{- toYaml $probe | nindent 12 }}
          {{- end }}
          resources:
            {{- toYaml .resources | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: data, mountPath: /data}
            {{- if .workSize }}
            - {name: work, mountPath: /work}
            {{- end }}
      volumes:
        - {name: tmp, emptyDir: {sizeLimit: 1Gi}}
        {{- if $values.data.claim }}
        - {name: data, persistentVolumeClaim: {claimName: {{ $values.data.claim }}}}
        {{- else if $values.env.PIPELINE_ARTIFACTS_URL }}
        - {name: data, emptyDir: {}}
        {{- else }}
        {{- fail "say where files are kept: data.claim (a ReadWriteMany claim) or env.PIPELINE_ARTIFACTS_URL (a bucket)" }}
        {{- end }}
        {{- with .workSize }}
        - {name: work, emptyDir: {sizeLimit: {{ . }}}}
        {{- end }}
{{- end }}
