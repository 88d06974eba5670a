package opennebula

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kolo/xmlrpc"

	"one-clvm/internal/failpoint"
	"one-clvm/internal/run"
)

const defaultTimeout = 30 * time.Second

// Codes of errors that oned answers with.
const (
	codeAuthentication = 0x0100
	codeAuthorization  = 0x0200
	codeNoExists       = 0x0400
	codeNoMethod       = -506 // of the XML-RPC library: this oned has no such call
)

// APIError is an error that oned answered a call with.
type APIError struct {
	Method string
	Code   int64
	Text   string
}

func (e *APIError) Error() string {
	text := e.Method + ": " + Sanitize(e.Text)
	switch {
	case errors.Is(e, ErrAuth):
		return text + " Check the user and password of the driver's one_auth file."
	case errors.Is(e, ErrNoSuchObject):
		return text + " It may have been deleted meanwhile; see whether it is still listed."
	}
	return fmt.Sprintf("%s (error 0x%04x); see oned.log", text, e.Code)
}

// Unwrap is the sentinel that the code stands for, or nil.
func (e *APIError) Unwrap() error {
	switch e.Code {
	case codeAuthentication, codeAuthorization:
		return ErrAuth
	case codeNoExists:
		return ErrNoSuchObject
	}
	return nil
}

// Config of a Client. Its zero value finds everything where OpenNebula's own commands
// find it.
type Config struct {
	Endpoint string        // "": ONE_XMLRPC, ~/.one/one_endpoint, DefaultEndpoint
	Session  Session       // "": read from AuthFile
	AuthFile string        // "": $ONE_AUTH, ~/.one/one_auth, oneadmin's
	Timeout  time.Duration // of one call; 0: 30 seconds

	// Runner runs `onevm show -x` and its sisters when the API cannot be reached;
	// nil: they are not asked.
	Runner run.Runner
	// OneVM is the onevm command, with the others beside it; "": looked up.
	OneVM string
}

// Client asks oned for objects, by XML-RPC. It may be used concurrently.
type Client struct {
	endpoint string
	session  func() Session // a function, so that no %v of a Client shows it
	timeout  time.Duration
	http     *http.Client
	commands commands
}

// NewClient makes a client; it does not connect. ErrNoCredentials.
func NewClient(config Config) (*Client, error) {
	endpoint, session := config.Endpoint, config.Session
	var err error
	if endpoint == "" {
		if endpoint, err = findEndpoint(); err != nil {
			return nil, err
		}
	}
	if err := checkEndpoint(endpoint); err != nil {
		return nil, err
	}
	if session == "" {
		if session, err = readSession(config.authFiles()); err != nil {
			return nil, err
		}
	}
	timeout := config.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	return &Client{
		endpoint: endpoint,
		session:  func() Session { return session },
		timeout:  timeout,
		http:     &http.Client{Transport: directTransport(), CheckRedirect: noRedirect},
		commands: commands{runner: config.Runner, onevm: config.OneVM},
	}, nil
}

func (config Config) authFiles() []string {
	if config.AuthFile != "" {
		return []string{config.AuthFile}
	}
	return authFiles()
}

// directTransport: the password goes to oned and to nobody else, so not through the
// proxy that the environment may name for downloads of images.
func directTransport() *http.Transport {
	return &http.Transport{Proxy: nil}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// VM asks for a VM with all its history.
func (c *Client) VM(ctx context.Context, id int) (*VM, error) {
	return get(ctx, c, query{fmt.Sprintf("VM %d", id), "one.vm.info", []any{id}, showCommand("onevm", id)}, ParseVM)
}

// VMs lists all VMs that are not done. The entries have less than those of VM: count
// on ID, Name, State, LCMState and History.
func (c *Client) VMs(ctx context.Context) ([]VM, error) {
	all := []any{-2, -1, -1, -1} // everybody's, from the first to the last, not done
	return get(ctx, c, query{"list of VMs", "one.vmpool.info", all, listCommand("onevm")}, ParseVMPool)
}

// Image asks for an image.
func (c *Client) Image(ctx context.Context, id int) (*Image, error) {
	return get(ctx, c, query{fmt.Sprintf("image %d", id), "one.image.info", []any{id}, showCommand("oneimage", id)}, ParseImage)
}

// Datastore asks for a datastore.
func (c *Client) Datastore(ctx context.Context, id int) (*Datastore, error) {
	return get(ctx, c, query{fmt.Sprintf("datastore %d", id), "one.datastore.info", []any{id},
		showCommand("onedatastore", id)}, ParseDatastore)
}

// Documents are the documents of a datastore, with its secrets, a VM and an image, one after
// another as the actions of datastore drivers want them.
func (c *Client) Documents(ctx context.Context, vm, image, datastore int) (string, error) {
	raw := func(r io.Reader) (*string, error) {
		text, err := io.ReadAll(r)
		document := string(text)
		return &document, err
	}
	var all []string
	for _, q := range []query{
		{fmt.Sprintf("datastore %d", datastore), "one.datastore.info", []any{datastore, true}, append(showCommand("onedatastore", datastore), "--decrypt")},
		{fmt.Sprintf("VM %d", vm), "one.vm.info", []any{vm}, showCommand("onevm", vm)},
		{fmt.Sprintf("image %d", image), "one.image.info", []any{image}, showCommand("oneimage", image)},
	} {
		document, err := get(ctx, c, q, raw)
		if err != nil {
			return "", err
		}
		all = append(all, *document)
	}
	return strings.Join(all, "\n"), nil
}

// ImageBySource finds the image that is at a SOURCE: the arguments of CPDS name the new
// image by nothing else. ErrNoSuchObject.
func (c *Client) ImageBySource(ctx context.Context, source string) (*Image, error) {
	images, err := c.Images(ctx)
	if err != nil {
		return nil, err
	}
	for i := range images {
		if collapseSlashes(images[i].Source) == collapseSlashes(source) {
			return &images[i], nil
		}
	}
	return nil, fmt.Errorf("image with SOURCE %q: %w", source, ErrNoSuchObject)
}

// Images lists all images.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	all := []any{-2, -1, -1} // everybody's, from the first to the last
	return get(ctx, c, query{"list of images", "one.imagepool.info", all, listCommand("oneimage")}, ParseImagePool)
}

// Hosts lists all hosts.
func (c *Client) Hosts(ctx context.Context) ([]Host, error) {
	return get(ctx, c, query{"list of hosts", "one.hostpool.info", nil, listCommand("onehost")}, ParseHostPool)
}

// UpdateImage merges attributes (NAME="value" lines) into an image's template. It
// only goes through the API.
func (c *Client) UpdateImage(ctx context.Context, id int, template string) error {
	const merge = 1
	failpoint.Change("update image")
	if _, err := c.call(ctx, "one.image.update", id, template, merge); err != nil {
		return fmt.Errorf("image %d: %w", id, err)
	}
	return nil
}

// TemplateText writes attributes as a template, NAME="value" lines. An empty value is NAME= alone:
// an old oned takes "" for two quotation marks.
func TemplateText(attributes []Attribute) string {
	var lines []string
	for _, a := range attributes {
		value := ""
		if a.Value != "" {
			value = `"` + a.Value + `"`
		}
		lines = append(lines, a.Name+"="+value)
	}
	return strings.Join(lines, "\n")
}

// ErrNotKept means: oned has taken attributes, and does not have them.
var ErrNotKept = errors.New("oned does not keep what it was told")

// UpdateDatastore merges attributes into a datastore's template, and reads them back. It only goes
// through the API. ErrNotKept.
//
// An oned that finds a TM_MAD in the merged template writes that TM's values of TM_MAD_CONF over
// those of the datastore (src/datastore/Datastore.cc, post_update_template). Without one it lets
// them be, and puts TM_MAD back; an old one that does neither is given it again.
//
//	killed …              leaves
//	datastore.merged      the attributes; TM_MAD is missing in the template of an old oned, which
//	                      goes by the one outside
func (c *Client) UpdateDatastore(ctx context.Context, id int, attributes []Attribute) error {
	ds, err := c.mergeDatastore(ctx, id, append([]Attribute{{Name: "TM_MAD"}}, attributes...))
	if err == nil && ds.Template["TM_MAD"] == "" {
		ds, err = c.mergeDatastore(ctx, id, []Attribute{{Name: "TM_MAD", Value: ds.TMMAD}})
	}
	if err != nil {
		return err
	}
	for _, a := range attributes {
		if got := ds.Template[a.Name]; !strings.EqualFold(got, a.Value) {
			return fmt.Errorf("datastore %d: %s is %q after it was set to %q: %w; set it in TM_MAD_CONF of oned.conf, if all datastores of %s can have it",
				id, a.Name, got, a.Value, ErrNotKept, ds.TMMAD)
		}
	}
	return nil
}

// mergeDatastore merges attributes into a datastore's template, and asks what has become of it.
func (c *Client) mergeDatastore(ctx context.Context, id int, attributes []Attribute) (*Datastore, error) {
	const merge = 1
	failpoint.Change("update datastore")
	if _, err := c.call(ctx, "one.datastore.update", id, TemplateText(attributes), merge); err != nil {
		return nil, fmt.Errorf("datastore %d: %w", id, err)
	}
	failpoint.Hit("datastore.merged")
	return c.Datastore(ctx, id)
}

// AllocateImage registers an image by its template (NAME="value" lines) in a datastore,
// and gives its id. It only goes through the API.
func (c *Client) AllocateImage(ctx context.Context, template string, datastore int) (int, error) {
	text, err := c.call(ctx, "one.image.allocate", template, datastore)
	if err != nil {
		return None, fmt.Errorf("new image: %w", err)
	}
	id, err := strconv.Atoi(text)
	if err != nil || id < 0 {
		return None, fmt.Errorf("new image: %w: its id is %q", ErrDocument, text)
	}
	return id, nil
}

// DeleteImage has oned remove an image, and its driver what there is of it. It only goes
// through the API. ErrNoSuchObject.
func (c *Client) DeleteImage(ctx context.Context, id int) error {
	if _, err := c.call(ctx, "one.image.delete", id); err != nil {
		return fmt.Errorf("delete image %d: %w", id, err)
	}
	return nil
}

// query is one question, in both ways it can be asked.
type query struct {
	object  string
	method  string
	args    []any
	command []string
}

// get asks the API; when that cannot be reached, the command. An answer of oned, also
// an error, is final.
func get[T any](ctx context.Context, c *Client, q query, parse func(io.Reader) (T, error)) (T, error) {
	var none T
	document, err := c.call(ctx, q.method, q.args...)
	if errors.Is(err, ErrUnreachable) && ctx.Err() == nil {
		document, err = c.commands.ask(ctx, c.timeout, q.command, err)
	}
	if err != nil {
		return none, fmt.Errorf("%s: %w", q.object, err)
	}
	return parse(strings.NewReader(document))
}

// call makes one XML-RPC call, within the client's timeout.
func (c *Client) call(ctx context.Context, method string, args ...any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := xmlrpc.NewRequest(c.endpoint, method, append([]any{string(c.session())}, args...))
	if err != nil {
		return "", fmt.Errorf("%s: %w", method, err)
	}
	body, err := c.send(request.WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w; check that oned runs and ONE_XMLRPC is right", ErrUnreachable, method, err)
	}
	return readAnswer(method, body)
}

func (c *Client) send(request *http.Request) (body []byte, err error) {
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", request.URL.Redacted(), response.Status)
	}
	return readBounded(response.Body, 2*MaxDocument) // < and > are escaped in it
}

// readAnswer takes oned's answer apart: an array of success, payload, error code, and
// in newer versions more. The library reads the 64-bit integers among them, too.
func readAnswer(method string, body []byte) (string, error) {
	var fault xmlrpc.FaultError
	switch err := xmlrpc.Response(body).Err(); {
	case errors.As(err, &fault):
		return "", &APIError{Method: method, Code: int64(fault.Code), Text: fault.String}
	case err != nil:
		return "", fmt.Errorf("%w: %s: the answer is not XML-RPC: %w", ErrUnreachable, method, err)
	}
	var answer []any
	if err := xmlrpc.Response(body).Unmarshal(&answer); err != nil {
		return "", fmt.Errorf("%w: %s: the answer is not XML-RPC: %w; check that ONE_XMLRPC is oned's",
			ErrUnreachable, method, err)
	}
	if len(answer) < 2 {
		return "", fmt.Errorf("%w: %s: the answer has %d elements; check that ONE_XMLRPC is oned's",
			ErrUnreachable, method, len(answer))
	}
	return payload(method, answer)
}

func payload(method string, answer []any) (string, error) {
	text := ""
	if answer[1] != nil { // an empty string arrives as nil
		text = fmt.Sprint(answer[1])
	}
	if ok, isBool := answer[0].(bool); isBool && ok {
		return text, nil
	}
	failure := &APIError{Method: method, Text: text}
	if len(answer) > 2 {
		failure.Code, _ = answer[2].(int64) // another type: no code
	}
	return "", failure
}
