{{/*
Names are fixed, not made of the release's: the IAM roles trust the service accounts by name, and the alerting rules find
the processes by the names of their Services. So one namespace holds one release.
*/}}

{{- define "mcp-queue.labels" -}}
app.kubernetes.io/name: mcp-queue-{{ . }}
app.kubernetes.io/part-of: mcp-queue
{{- end }}

{{- define "mcp-queue.selector" -}}
app.kubernetes.io/name: mcp-queue-{{ . }}
{{- end }}

{{- define "mcp-queue.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* What the pod security standard "restricted" asks for. */}}
{{- define "mcp-queue.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mcp-queue.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "mcp-queue.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{- /* Pods that read a changed ConfigMap only when they start are started anew when it changes. */}}
{{- define "mcp-queue.checksum" -}}
{{- if .Values.configMaps.create }}
annotations:
  checksum/config: {{ include (print $.Template.BasePath "/config-maps.yaml") . | sha256sum }}
{{- end }}
{{- end }}

{{- /* The queues that are worked on: those at SQS that are nobody's dead-letter queue. */}}
{{- define "mcp-queue.consumed" -}}
{{- $letters := list "dlq" }}
{{- range .Values.config.queue.sqs.queues }}
{{- with .dead_letter_queue }}{{ $letters = append $letters . }}{{ end }}
{{- end }}
{{- $consumed := list }}
{{- range .Values.config.queue.sqs.queues }}
{{- if and .url (not (has .name $letters)) }}{{ $consumed = append $consumed . }}{{ end }}
{{- end }}
{{- toJson $consumed }}
{{- end }}

{{- define "mcp-queue.dns" -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
{{- range .Values.networkPolicies.dnsAddresses }}
    - ipBlock: {cidr: {{ . }}}
{{- end }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}

{{- define "mcp-queue.aws" -}}
# AWS, whether by its public addresses or by VPC endpoints, and PostgreSQL.
- ports: [{port: 443}, {port: 5432}]
# The agent of EKS Pod Identity, which hands out the credentials.
- to: [{ipBlock: {cidr: 169.254.170.23/32}}, {ipBlock: {cidr: "fd00:ec2::23/128"}}]
  ports: [{port: 80}]
{{- end }}
