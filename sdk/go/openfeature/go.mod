module github.com/flagent-cdc/flagent-go/openfeature

go 1.26.0

require (
	github.com/flagent-cdc/flagent-go v0.0.0
	github.com/open-feature/go-sdk v1.20.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	go.uber.org/mock v0.6.0 // indirect
)

replace github.com/flagent-cdc/flagent-go => ../
