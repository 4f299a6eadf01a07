# make run    a mail host on 127.0.0.1 to play with
# make test   everything that must be true before a commit
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -X main.version=$(VERSION)
PREFIX   := /usr/local
FUZZTIME := 10s
export CGO_ENABLED := 0

.PHONY: build run test tools check unit fuzz e2e e2e-compose test-store ledger stress differential storm internet bench-store bench-relay bench-inbound bench-imap bench install clean

build: ## bin/buzon, static
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/buzon ./cmd/buzon

run: build ## a host on 127.0.0.1, data under ./demo
	@deploy/demo bin/buzon

test: tools check unit e2e ## what .ci/run runs first

tools: ## the programs that the tests need; installed where root may
	@.ci/tools

check: ## format, vet, staticcheck
	@unformatted=$$(gofmt -s -l .); [[ -z $$unformatted ]] || { echo "gofmt -s: $$unformatted"; exit 1; }
	go vet ./...
	go tool staticcheck ./...

unit: ## unit, dialogue, crash, layer and document tests, fuzz seeds; under the race detector
	CGO_ENABLED=1 .ci/go-test -race -timeout 15m $$(go list ./... | grep -v '^buzon/internal/e2e')

e2e: ## the real binary against real clients and servers
	.ci/go-test -timeout 10m -count=1 ./internal/e2e/...

e2e-compose: ## two mail hosts in containers exchange mail; one is killed in the middle
	deploy/e2e/run

fuzz: ## every fuzz target for FUZZTIME
	@for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

test-store: tools ## the store's forty cases at length, on ext4, xfs, btrfs and tmpfs
	.ci/test-store

ledger: ## eight writers, 200 times kill -9: nothing that was answered for is missing
	BUZON_KILLS=200 go test -count=1 -v -timeout 60m -run '^TestLedger$$' ./internal/e2e

stress: ## 50 connections and another program do everything at once for a minute
	BUZON_STRESS_CONNECTIONS=50 BUZON_STRESS_SECONDS=60 go test -count=1 -v -timeout 10m -run '^TestStress$$' ./internal/e2e

differential: ## 10 000 random sequences of commands to us and to Dovecot: equal answers
	BUZON_DIFFERENTIAL=10000 go test -count=1 -v -timeout 120m -run '^TestAgainstDovecot$$' ./internal/e2e/differential

internet: tools ## 1000 messages among five makes of mail host, then every trouble; as root
	BUZON_INTERNET_MESSAGES=1000 go test -count=1 -v -timeout 20m -run '^TestInternet$$' ./internal/e2e

storm: ## others rename 20 000 messages for a minute; Dovecot beside us
	BUZON_STORM_MESSAGES=20000 BUZON_STORM_SECONDS=60 go test -count=1 -v -timeout 10m -run '^TestStorm$$' ./internal/e2e

MESSAGES := 100000
BENCHES := Store|Delivery
bench-store: ## a large folder and deliveries; Dovecot and a bare program beside us. MESSAGES=1000000 on demand
	BUZON_BENCH_MESSAGES=$(MESSAGES) BUZON_BENCH_SECONDS=3 go test -count=1 -v -timeout 60m -run '^Test($(BENCHES))Bench$$' ./internal/e2e

bench-relay: ## users' mail through us to another host, Postfix beside us; as root
	BUZON_BENCH_RELAY=1 BUZON_BENCH_MESSAGES=$${BUZON_BENCH_MESSAGES:-2000} go test -count=1 -v -timeout 30m -run '^TestRelayBench$$' ./internal/e2e

bench-inbound: ## mail from another host, SPF, DKIM and DMARC checked; Postfix with opendkim and opendmarc beside us; as root
	BUZON_BENCH_INBOUND=1 BUZON_BENCH_MESSAGES=$${BUZON_BENCH_MESSAGES:-2000} go test -count=1 -v -timeout 30m -run '^TestInboundBench$$' ./internal/e2e

bench-imap: ## IMAP on a large mailbox, Dovecot beside us; BUZON_BENCH_MESSAGES=100000 on demand
	BUZON_BENCH_MESSAGES=$${BUZON_BENCH_MESSAGES:-10000} go test -count=1 -v -timeout 60m -run '^TestIMAPBench$$' ./internal/e2e

bench: ## Go benchmarks
	go test -run '^$$' -bench . -benchmem ./...

install: build ## under DESTDIR; an existing configuration is kept
	install -D -m 0755 bin/buzon $(DESTDIR)$(PREFIX)/bin/buzon
	install -D -m 0644 deploy/buzon.service $(DESTDIR)/lib/systemd/system/buzon.service
	[[ -e $(DESTDIR)/etc/buzon/buzon.toml ]] || install -D -m 0640 deploy/buzon.toml $(DESTDIR)/etc/buzon/buzon.toml

clean:
	rm -rf bin
