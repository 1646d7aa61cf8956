module github.com/pose-dev/pose-operator/hack/cluster

go 1.26.0
