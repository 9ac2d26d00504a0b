FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY main.go ./
COPY api api
COPY controllers controllers
COPY internal internal
COPY cmd/gate cmd/gate
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /manager .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /gate ./cmd/gate

# What a distroless static image comes down to for the manager: the certificate authorities, for TLS to queues, and a user
# that is not root. There is no shell, and nothing that the manager would have to write to. Standby slots of gate Prepared
# run the gate.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /manager /manager
COPY --from=build /gate /gate
USER 65532:65532
ENTRYPOINT ["/manager"]
