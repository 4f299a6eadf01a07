package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"buzon/mx/queue"
)

// errNotRunning says that no server answers at the control socket.
var errNotRunning = errors.New("the server is not running")

// controlClient speaks with the running server.
type controlClient struct{ http *http.Client }

// controlTimeout is for the whole of a request; a reload of many accounts and
// a queue of 100 000 messages take a second or two.
const controlTimeout = time.Minute

func newControlClient(cfg *config) controlClient {
	return controlClient{&http.Client{
		Timeout: controlTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
				err = withSocketPath(cfg.Data, func(path string) error {
					conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
					return err
				})
				return conn, err
			},
		},
	}}
}

// call makes a request and decodes the answer into v unless that is nil. The
// error is errNotRunning where no server listens.
func (c controlClient) call(ctx context.Context, method, path string, v any) error {
	body, err := c.open(ctx, method, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if v == nil {
		return nil
	}
	return json.NewDecoder(body).Decode(v)
}

func (c controlClient) open(ctx context.Context, method, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://buzon"+path, bytes.NewReader(nil))
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNotRunning
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; run this as root or as the user that runs buzon", errors.Unwrap(err))
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running server: %w", err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var f failure
	if err := json.NewDecoder(res.Body).Decode(&f); err != nil {
		return nil, fmt.Errorf("the running server answered %s", res.Status)
	}
	if res.StatusCode == http.StatusNotFound && f.Error == queue.ErrNotFound.Error() {
		return nil, queue.ErrNotFound
	}
	return nil, errors.New(f.Error)
}

// The queue's operations, as *queue.Queue has them.

func (c controlClient) List(ctx context.Context) (list []queue.Message, err error) {
	err = c.call(ctx, "GET", "/queue", &list)
	return list, err
}

func (c controlClient) Show(ctx context.Context, id string) (m queue.Message, err error) {
	err = c.call(ctx, "GET", "/queue/"+url.PathEscape(id), &m)
	return m, err
}

func (c controlClient) Text(ctx context.Context, id string) (io.ReadCloser, error) {
	return c.open(ctx, "GET", "/queue/"+url.PathEscape(id)+"/text")
}

func (c controlClient) Retry(ctx context.Context, id string) error {
	return c.call(ctx, "POST", "/queue/"+url.PathEscape(id)+"/retry", nil)
}

func (c controlClient) RetryAll(ctx context.Context) (n int, err error) {
	err = c.call(ctx, "POST", "/queue/retry", &n)
	return n, err
}

func (c controlClient) Hold(ctx context.Context, id string) error {
	return c.call(ctx, "POST", "/queue/"+url.PathEscape(id)+"/hold", nil)
}

func (c controlClient) Release(ctx context.Context, id string) error {
	return c.call(ctx, "POST", "/queue/"+url.PathEscape(id)+"/release", nil)
}

func (c controlClient) Drop(ctx context.Context, id string) error {
	return c.call(ctx, "DELETE", "/queue/"+url.PathEscape(id), nil)
}
