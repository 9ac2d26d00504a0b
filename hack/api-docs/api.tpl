{{- define "gvList" -}}
<!-- Generated from api/ by `make docs-api`. Do not edit. -->
# API reference

What `kubectl explain queuescalers --recursive` shows, on one page.
{{- range . }}

## {{ .GroupVersionString }}
{{- $types := .SortedTypes }}
{{- range $types }}{{ if .GVK }}{{ template "type" . }}{{ end }}{{ end }}
{{- range $types }}{{ if not .GVK }}{{ template "type" . }}{{ end }}{{ end }}
{{- end }}
{{ end -}}

{{- define "type" -}}
{{- if markdownShouldRenderType . }}

### {{ .Name }}

{{ regexReplaceAll "(?m)^[+].*\n?" .Doc "" | trim }}
{{- if .References }}

Part of {{ range $i, $r := .SortedReferences }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $r }}{{ end }}.
{{- end }}
{{- if .EnumValues }}

| value | meaning |
|---|---|
{{- range .EnumValues }}
| `{{ .Name }}` | {{ regexReplaceAll "^[A-Za-z]+ " (markdownRenderFieldDoc .Doc) "" | trimSuffix "<br />" }} |
{{- end }}
{{- end }}
{{- if .Members }}
{{ range .Members }}
- **`{{ .Name }}`** {{ markdownRenderType .Type }}
  {{- $bounds := list }}
  {{- range .Validation }}
    {{- if hasPrefix "Required" . }}{{ $bounds = prepend $bounds "required" }}
    {{- else if not (or (hasPrefix "Optional" .) (hasPrefix "Enum" .) (hasPrefix "MinProperties" .) (hasSuffix "MinLength: 1" .) (contains "XValidation" .)) }}{{ $bounds = append $bounds (. | replace "1e+09" "1000000000" | replace "Minimum:" "at least" | replace "Maximum:" "at most" | replace "MinLength:" "length at least" | replace "MaxLength:" "length at most" | replace "MinItems:" "items at least" | replace "MaxItems:" "items at most" | replace "items:" "each: " ) }}
    {{- end }}
  {{- end }}
  {{- if $bounds }} ({{ join ", " $bounds }}){{ end }}.
{{- if eq .Name "metadata" }}
  Standard object's metadata.
{{- else }}
{{ regexReplaceAll "(?s)\n(  .*)$" (regexReplaceAll "(?m)^[+].*\n?" .Doc "" | trim) "\n\n```yaml\n$1\n```" | indent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
