package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"buzon/internal/account"
	"buzon/mx/queue"
)

// controlName is the socket in the data directory at which the running server
// answers `buzon queue`, `buzon health` and the like. Who may open it is who may
// read the mail.
const controlName = "buzon.sock"

// listenControl opens the control socket. Whatever is left of an earlier
// process is not in use: we hold the lock.
func listenControl(cfg *config) (net.Listener, error) {
	if err := os.Remove(cfg.path(controlName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ln net.Listener
	err := withSocketPath(cfg.Data, func(path string) (err error) {
		ln, err = net.Listen("unix", path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // by a path that may be gone
	if err := os.Chmod(cfg.path(controlName), 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// withSocketPath calls f with a path of the control socket that fits into a
// socket address, which has room for 107 bytes only.
func withSocketPath(data string, f func(path string) error) error {
	path := filepath.Join(data, controlName)
	if len(path) <= 107 {
		return f(path)
	}
	dir, err := os.Open(data)
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), controlName))
}

// health is what GET /health answers.
type health struct {
	Version   string            `json:"version"`
	Hostname  string            `json:"hostname"`
	PID       int               `json:"pid"`
	Started   time.Time         `json:"started"`
	Accounts  int               `json:"accounts"`
	Queued    int               `json:"queued"`
	Services  map[string]string `json:"services"` // address → service
	Expires   time.Time         `json:"certificate_expires"`
	Signature string            `json:"certificate_sha256"`
}

// serveControl answers at the control socket until ctx ends.
func (h *host) serveControl(ctx context.Context) error {
	defer h.transfers.Wait()
	server := &http.Server{
		BaseContext: func(net.Listener) context.Context { return ctx },
		Handler:     h.controlHandler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
	}
	defer context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(end)
	})()
	err := server.Serve(h.control.Listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// controlHandler is the control socket's API.
func (h *host) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := f(r)
			answer(w, v, err)
		})
	}
	withID := func(f func(id string) error) func(*http.Request) (any, error) {
		return func(r *http.Request) (any, error) { return nil, f(r.PathValue("id")) }
	}
	handle("GET /health", func(*http.Request) (any, error) { return h.health(), nil })
	handle("POST /reload", func(*http.Request) (any, error) { return h.reload() })
	handle("POST /accounts/reload", func(*http.Request) (any, error) { return nil, h.accounts.Reload() })

	handle("GET /queue", func(*http.Request) (any, error) { return h.queue.List(), nil })
	handle("POST /queue/retry", func(*http.Request) (any, error) {
		h.client.Revive()
		return h.queue.RetryAll()
	})
	handle("GET /queue/{id}", func(r *http.Request) (any, error) { return h.queue.Show(r.PathValue("id")) })
	handle("POST /queue/{id}/retry", withID(func(id string) error {
		h.client.Revive()
		return h.queue.Retry(id)
	}))
	handle("POST /queue/{id}/hold", withID(h.queue.Hold))
	handle("POST /queue/{id}/release", withID(h.queue.Release))
	handle("DELETE /queue/{id}", withID(h.queue.Drop))
	mux.HandleFunc("GET /queue/{id}/text", func(w http.ResponseWriter, r *http.Request) {
		text, err := h.queue.Text(r.PathValue("id"))
		if err != nil {
			answer(w, nil, err)
			return
		}
		defer text.Close()
		w.Header().Set("Content-Type", "message/rfc822")
		_, _ = io.Copy(w, text)
	})
	mux.HandleFunc("POST /imap/{account}", h.serveTransfer)
	handle("GET /junk/{account}", h.junkOf)
	mux.HandleFunc("POST /junk/{account}/train", h.serveTraining)
	return mux
}

func (h *host) health() health {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	state := health{
		Version: version, Hostname: h.cfg.Hostname, PID: os.Getpid(), Started: h.started,
		Accounts: len(h.accounts.List()), Queued: h.queue.Len(), Services: make(map[string]string),
		Expires: h.certs.Expires(), Signature: h.certs.Fingerprint(),
	}
	for _, ln := range h.listeners {
		state.Services[ln.Addr().String()] = ln.service
	}
	return state
}

// failure is the answer to what could not be done.
type failure struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		code := http.StatusInternalServerError
		if errors.Is(err, queue.ErrNotFound) || errors.Is(err, account.ErrNotFound) {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
		v = failure{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v)
}
