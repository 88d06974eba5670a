package datastore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fetcher reads a file at an http or https address. A connection that breaks, or is silent
// for too long, is made anew and goes on where the last one ended.
type fetcher struct {
	client *http.Client
	url    string
	silent time.Duration // without a byte, until a connection counts as broken
	pause  time.Duration // before the first new attempt; it doubles

	validator string // ETag or Last-Modified of the first answer, "" none
	size      int64  // -1 unknown
}

// attempts is how often in a row a connection may bring nothing.
const attempts = 5

// errChanged: it is not the same file any more.
var errChanged = errors.New("the file was changed while it was read")

func newFetcher(url string, connect, silent time.Duration) *fetcher {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: connect}).DialContext, TLSHandshakeTimeout: connect,
		ResponseHeaderTimeout: silent, DisableCompression: true, // what is compressed is the image
	}
	return &fetcher{client: &http.Client{Transport: transport}, url: url, silent: silent, pause: time.Second, size: -1}
}

// open asks for the file from offset at on. told hears of all bytes that come, those too that
// are passed over.
func (f *fetcher) open(ctx context.Context, at int64, told func()) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "one-clvm")
	if at > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", at))
		if f.validator != "" {
			request.Header.Set("If-Range", f.validator)
		}
	}
	answer, err := f.client.Do(request) //nolint:bodyclose // it goes with what is returned
	if err != nil {
		return nil, err
	}
	body := &heard{answer.Body, told}
	err = f.accept(answer, at)
	if err == nil && at > 0 && answer.StatusCode == http.StatusOK { // it knows no ranges: what came before comes again
		_, err = io.CopyN(io.Discard, body, at)
	}
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return body, nil
}

// statusError is an answer that another attempt will not change.
type statusError struct{ status string }

func (e *statusError) Error() string { return "the server answers " + e.status }

func (f *fetcher) accept(answer *http.Response, at int64) error {
	total := answer.ContentLength
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		var err error
		if total, err = totalOf(answer.Header.Get("Content-Range"), at); err != nil {
			return err
		}
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return errors.New("the server answers " + answer.Status)
	default:
		return &statusError{answer.Status}
	}
	validator := answer.Header.Get("ETag")
	if strings.HasPrefix(validator, "W/") || validator == "" {
		validator = answer.Header.Get("Last-Modified")
	}
	if at > 0 && (validator != f.validator || total != f.size) {
		return errChanged
	}
	f.validator, f.size = validator, total
	return nil
}

// totalOf reads Content-Range: bytes FIRST-LAST/TOTAL.
func totalOf(text string, at int64) (int64, error) {
	span, total, ok := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	first, _, _ := strings.Cut(span, "-")
	if n, err := strconv.ParseInt(first, 10, 64); !ok || err != nil || n != at {
		return 0, fmt.Errorf("the server answers with another part: %q", text)
	}
	if total == "*" {
		return -1, nil
	}
	return strconv.ParseInt(total, 10, 64)
}

// copy writes the whole file to w.
func (f *fetcher) copy(ctx context.Context, w io.Writer) (n int64, err error) {
	pause := f.pause
	for failures := 0; ; {
		came, err := f.copyFrom(ctx, n, w)
		n += came
		if err == nil && (f.size < 0 || n == f.size) {
			return n, nil
		}
		if err == nil {
			err = fmt.Errorf("%w: %d of %d bytes", io.ErrUnexpectedEOF, n, f.size)
		}
		if failures++; came > 0 {
			failures, pause = 1, f.pause
		}
		if !f.again(ctx, err, failures) {
			return n, fmt.Errorf("fetch %s: %w", f.url, err)
		}
		select {
		case <-ctx.Done():
			return n, fmt.Errorf("fetch %s: %w", f.url, context.Cause(ctx))
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func (f *fetcher) again(ctx context.Context, err error, failures int) bool {
	var status *statusError
	var local *writeError
	return ctx.Err() == nil && failures < attempts && !errors.As(err, &status) && !errors.As(err, &local) && !errors.Is(err, errChanged)
}

// writeError is a failure at this end.
type writeError struct{ error }

func (e *writeError) Unwrap() error { return e.error }

type target struct{ io.Writer }

func (t target) Write(p []byte) (int, error) {
	n, err := t.Writer.Write(p)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}

var errSilent = errors.New("the server was silent for too long")

func (f *fetcher) copyFrom(ctx context.Context, at int64, w io.Writer) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(f.silent, func() { cancel(errSilent) })
	defer silence.Stop()
	body, err := f.open(ctx, at, func() { silence.Reset(f.silent) })
	if err == nil {
		defer body.Close() // only read
		var n int64
		n, err = io.Copy(target{w}, body)
		if err == nil {
			return n, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return n, err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return 0, err
}

// heard tells of each byte that comes.
type heard struct {
	io.ReadCloser
	told func()
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if n > 0 {
		h.told()
	}
	return n, err
}
