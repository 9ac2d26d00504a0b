module github.com/queuescaler/queuescaler/hack/e2e

go 1.26.0

replace github.com/queuescaler/queuescaler => ../..
