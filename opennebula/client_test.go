package opennebula

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"one-clvm/internal/run"
)

const secret = "oneadmin:opennebula"

// oned answers every call with one body and keeps the requests.
type oned struct {
	*httptest.Server
	requests []string
}

func startOned(t *testing.T, answer []byte) *oned {
	o := &oned{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		o.requests = append(o.requests, string(body))
		_, err = w.Write(answer)
		assert.NoError(t, err)
	}))
	t.Cleanup(o.Close)
	return o
}

// success is oned's answer with a document.
func success(document string) []byte {
	return []byte(fmt.Sprintf(`<?xml version="1.0"?><methodResponse><params><param><value><array><data>
<value><boolean>1</boolean></value><value><string>%s</string></value><value><i4>0</i4></value>
</data></array></value></param></params></methodResponse>`,
		strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(document)))
}

func client(t *testing.T, config Config) *Client {
	t.Helper()
	config.Session = secret
	c, err := NewClient(config)
	require.NoError(t, err)
	return c
}

// commandFake stands for onevm and its sisters.
type commandFake struct {
	calls  []run.Cmd
	output string
	err    error
}

func (f *commandFake) Run(_ context.Context, c run.Cmd) (run.Result, error) {
	f.calls = append(f.calls, c)
	return run.Result{Stdout: []byte(f.output)}, f.err
}

// deadEndpoint is a port at which nobody listens, and which nobody else gets meanwhile: it
// is taken, without listening.
func deadEndpoint(t *testing.T) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Close(fd)) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	address, err := unix.Getsockname(fd)
	require.NoError(t, err)
	inet, ok := address.(*unix.SockaddrInet4)
	require.True(t, ok)
	return fmt.Sprintf("http://127.0.0.1:%d/RPC2", inet.Port)
}

func TestVMFromARecordedAnswer(t *testing.T) {
	server := startOned(t, fixture(t, "rpc/one.vm.info.response.xml"))
	vm, err := client(t, Config{Endpoint: server.URL}).VM(context.Background(), 1)
	require.NoError(t, err)
	assert.Equal(t, 1, vm.ID)
	assert.NotEmpty(t, vm.Disks)
	assert.Greater(t, len(vm.History), 1)
	require.Len(t, server.requests, 1)
	normal := strings.NewReplacer("i4>", "int>", ` encoding="UTF-8"`, "", "\n", "")
	assert.Equal(t, normal.Replace(string(fixture(t, "rpc/one.vm.info.request.xml"))), normal.Replace(server.requests[0]))
}

func TestErrorsThatOnedAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		file   string
		target error
		text   string
	}{
		"no such VM": {"rpc/one.vm.info.no-such-vm.response.xml", ErrNoSuchObject, "VM 999: one.vm.info: [one.vm.info] Error getting virtual machine [999]."},
		"password":   {"rpc/one.vm.info.bad-auth.response.xml", ErrAuth, "Check the user and password"},
	} {
		t.Run(name, func(t *testing.T) {
			command := &commandFake{}
			server := startOned(t, fixture(t, test.file))
			_, err := client(t, Config{Endpoint: server.URL, Runner: command}).VM(context.Background(), 999)
			require.ErrorIs(t, err, test.target)
			assert.NotErrorIs(t, err, ErrUnreachable)
			assert.ErrorContains(t, err, test.text)
			assert.Empty(t, command.calls, "an answer is final")
			var api *APIError
			require.ErrorAs(t, err, &api)
			assert.Equal(t, "one.vm.info", api.Method)
			assert.NotContains(t, fmt.Sprintf("%+v", err), "opennebula:")
		})
	}
	other := &APIError{Method: "one.image.update", Code: 0x800, Text: "locked\nExitCode: 0"}
	assert.NoError(t, other.Unwrap())
	assert.EqualError(t, other, "one.image.update: locked exit code: 0 (error 0x0800); see oned.log")
}

func TestOtherObjects(t *testing.T) {
	ctx := context.Background()
	server := startOned(t, success(string(fixture(t, "image-0.xml"))))
	image, err := client(t, Config{Endpoint: server.URL}).Image(ctx, 0)
	require.NoError(t, err)
	assert.Equal(t, "os1", image.Name)

	server = startOned(t, success(string(fixture(t, "datastore-101.xml"))))
	datastore, err := client(t, Config{Endpoint: server.URL}).Datastore(ctx, 101)
	require.NoError(t, err)
	assert.Equal(t, "clvm_sys", datastore.Name)

	server = startOned(t, success("<HOST_POOL>"+string(fixture(t, "host-0.xml"))+"</HOST_POOL>"))
	hosts, err := client(t, Config{Endpoint: server.URL}).Hosts(ctx)
	require.NoError(t, err)
	assert.Equal(t, "node1", hosts[0].Name)
	assert.Contains(t, server.requests[0], "one.hostpool.info")

	server = startOned(t, success("<VM_POOL><VM><ID>7</ID></VM></VM_POOL>"))
	vms, err := client(t, Config{Endpoint: server.URL}).VMs(ctx)
	require.NoError(t, err)
	assert.Equal(t, 7, vms[0].ID)
	assert.Equal(t, 3, strings.Count(server.requests[0], "<int>-1</int>"))
}

func TestImageBySource(t *testing.T) {
	ctx := context.Background()
	server := startOned(t, success("<IMAGE_POOL><IMAGE><ID>6</ID><SOURCE/></IMAGE>"+
		"<IMAGE><ID>7</ID><SOURCE>/var/lib/one//datastores/1/abc</SOURCE></IMAGE></IMAGE_POOL>"))
	c := client(t, Config{Endpoint: server.URL})
	image, err := c.ImageBySource(ctx, "/var/lib/one/datastores/1/abc")
	require.NoError(t, err)
	assert.Equal(t, 7, image.ID)
	_, err = c.ImageBySource(ctx, "lv-oneimg-9")
	require.ErrorIs(t, err, ErrNoSuchObject)
	assert.ErrorContains(t, err, `"lv-oneimg-9"`)

	_, err = client(t, Config{Endpoint: startOned(t, success("<IMAGE_POOL><IMAGE><SIZE>x</SIZE></IMAGE></IMAGE_POOL>")).URL}).
		ImageBySource(ctx, "x")
	assert.ErrorIs(t, err, ErrDocument)
}

func TestUpdateImage(t *testing.T) {
	server := startOned(t, success(""))
	c := client(t, Config{Endpoint: server.URL})
	require.NoError(t, c.UpdateImage(context.Background(), 7, `MODE="<TGZ>"`))
	assert.Contains(t, server.requests[0], "one.image.update")
	assert.Contains(t, server.requests[0], "MODE=&#34;&lt;TGZ&gt;&#34;")
	assert.Contains(t, server.requests[0], "<value><int>1</int></value></param></params>")

	server = startOned(t, fixture(t, "rpc/one.vm.info.bad-auth.response.xml"))
	err := client(t, Config{Endpoint: server.URL}).UpdateImage(context.Background(), 7, "A=B")
	require.ErrorIs(t, err, ErrAuth)
	assert.ErrorContains(t, err, "image 7: ")
}

// What oned is told of a datastore is read back: an old oned gets its TM_MAD again, and one that
// keeps nothing is told of.
func TestUpdateDatastore(t *testing.T) {
	const document = `<DATASTORE><ID>7</ID><TM_MAD>clvm</TM_MAD><TYPE>0</TYPE><TEMPLATE><LN_TARGET>NONE</LN_TARGET><TM_MAD>%s</TM_MAD></TEMPLATE></DATASTORE>`
	update := func(tm, target string) ([]string, error) {
		server := startOned(t, success(fmt.Sprintf(document, tm)))
		err := client(t, Config{Endpoint: server.URL}).UpdateDatastore(t.Context(), 7, []Attribute{{"LN_TARGET", target}})
		return server.requests, err
	}
	requests, err := update("clvm", "NONE")
	require.NoError(t, err)
	require.Len(t, requests, 2)
	assert.Contains(t, requests[0], "TM_MAD=&#xA;LN_TARGET=&#34;NONE&#34;<")
	requests, err = update("", "NONE")
	require.NoError(t, err)
	require.Len(t, requests, 4)
	assert.Contains(t, requests[2], "<string>TM_MAD=&#34;clvm&#34;<")
	_, err = update("clvm", "SYSTEM")
	require.ErrorIs(t, err, ErrNotKept)
	require.ErrorContains(t, err, `datastore 7: LN_TARGET is "NONE" after it was set to "SYSTEM"`)
}

func TestTheCommandAnswersForAnUnreachableAPI(t *testing.T) {
	t.Setenv("ONE_CERT_DIR", "/etc/one/certs")
	notFound := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(notFound.Close)
	redirect := httptest.NewServer(http.RedirectHandler("http://elsewhere.invalid/", http.StatusFound))
	t.Cleanup(redirect.Close)
	for name, endpoint := range map[string]string{
		"connection refused": deadEndpoint(t), "HTTP error": notFound.URL, "redirection": redirect.URL,
		"not XML-RPC": startOned(t, []byte("<html>hello</html>")).URL, "empty array": startOned(t, emptyAnswer).URL,
		"broken fault": startOned(t, []byte("<fault>x</fault>")).URL,
	} {
		t.Run(name, func(t *testing.T) {
			command := &commandFake{output: string(fixture(t, "vm/vm0-after-deploy.xml"))}
			vm, err := client(t, Config{Endpoint: endpoint, Runner: command}).VM(context.Background(), 0)
			require.NoError(t, err)
			assert.Equal(t, "web", vm.Name)
			require.Len(t, command.calls, 1)
			assert.Equal(t, "onevm", command.calls[0].Path)
			assert.Equal(t, []string{"show", "-x", "0"}, command.calls[0].Args)
			assert.Contains(t, command.calls[0].Env, "ONE_CERT_DIR=/etc/one/certs")

			_, err = client(t, Config{Endpoint: endpoint}).VM(context.Background(), 0)
			require.ErrorIs(t, err, ErrUnreachable)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

var emptyAnswer = []byte(`<methodResponse><params><param><value><array><data></data></array></value></param></params></methodResponse>`)

func TestCommandsBesideOnevm(t *testing.T) {
	command := &commandFake{err: errors.New("no Ruby here")}
	c := client(t, Config{Endpoint: deadEndpoint(t), Runner: command, OneVM: "/opt/one/bin/onevm"})
	_, err := c.Image(context.Background(), 3)
	require.ErrorIs(t, err, ErrUnreachable)
	require.ErrorContains(t, err, "image 3: ")
	require.ErrorContains(t, err, "no Ruby here")
	_, err = c.VM(context.Background(), 4)
	require.Error(t, err)
	_, err = c.Hosts(context.Background())
	require.Error(t, err)
	assert.Equal(t, "/opt/one/bin/oneimage", command.calls[0].Path)
	assert.Equal(t, "/opt/one/bin/onevm", command.calls[1].Path)
	assert.Equal(t, []string{"list", "-x"}, command.calls[2].Args)
}

// silentOned accepts a call and never answers it.
func silentOned(t *testing.T, called func()) string {
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called(); <-done }))
	t.Cleanup(func() { close(done); server.Close() })
	return server.URL
}

func TestDeadline(t *testing.T) {
	command := &commandFake{output: "<VM><ID>0</ID></VM>"}
	c := client(t, Config{Endpoint: silentOned(t, func() {}), Timeout: 20 * time.Millisecond, Runner: command})
	_, err := c.VM(context.Background(), 0)
	require.NoError(t, err)
	assert.Len(t, command.calls, 1)
}

func TestCancellationAsksNobodyElse(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	command := &commandFake{}
	_, err := client(t, Config{Endpoint: silentOned(t, cancel), Runner: command}).VM(ctx, 0)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, command.calls)
}

func TestFault(t *testing.T) {
	server := startOned(t, []byte(`<methodResponse><fault><value><struct>
		<member><name>faultCode</name><value><int>-506</int></value></member>
		<member><name>faultString</name><value><string>Method not defined</string></value></member>
		</struct></value></fault></methodResponse>`))
	_, err := client(t, Config{Endpoint: server.URL}).VM(context.Background(), 0)
	var api *APIError
	require.ErrorAs(t, err, &api)
	assert.Equal(t, int64(-506), api.Code)
}

func TestCredentials(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("ONE_AUTH", filepath.Join(home, "auth"))
	require.NoError(t, os.Mkdir(filepath.Join(home, ".one"), 0o700))
	assert.Equal(t, []string{home + "/auth", home + "/.one/one_auth", adminAuth}, authFiles())

	second := filepath.Join(home, ".one/one_auth")
	require.NoError(t, os.WriteFile(second, []byte("anna:pass:word \nrest\n"), 0o600))
	c, err := NewClient(Config{})
	require.NoError(t, err)
	assert.Equal(t, "anna:pass:word", string(c.session()))

	require.NoError(t, os.WriteFile(home+"/auth", []byte("hush-hush\n"), 0o600))
	_, err = NewClient(Config{})
	require.ErrorIs(t, err, ErrNoCredentials)
	require.ErrorContains(t, err, home+"/auth")
	assert.NotContains(t, err.Error(), "hush")

	_, err = NewClient(Config{AuthFile: home + "/none"})
	require.ErrorIs(t, err, ErrNoCredentials)
	_, err = NewClient(Config{AuthFile: home})
	require.ErrorIs(t, err, ErrNoCredentials)

	t.Setenv("HOME", "")
	t.Setenv("ONE_AUTH", "")
	assert.Equal(t, []string{adminAuth}, authFiles())
}

func TestTheSecretIsNotPrinted(t *testing.T) {
	config := Config{Session: secret, Endpoint: DefaultEndpoint}
	c, err := NewClient(config)
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		assert.NotContains(t, fmt.Sprintf(verb, config), "opennebula\"", verb)
		assert.NotContains(t, fmt.Sprintf(verb, config), secret, verb)
		assert.NotContains(t, fmt.Sprintf(verb, c), secret, verb)
	}
}

func TestEndpoint(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("ONE_XMLRPC", "")
	endpoint := func() string {
		c, err := NewClient(Config{Session: secret})
		require.NoError(t, err)
		return c.endpoint
	}
	assert.Equal(t, DefaultEndpoint, endpoint())
	require.NoError(t, os.Mkdir(home+"/.one", 0o700))
	require.NoError(t, os.WriteFile(home+"/.one/one_endpoint", []byte("https://fe:2634/RPC2\n"), 0o600))
	assert.Equal(t, "https://fe:2634/RPC2", endpoint())
	t.Setenv("ONE_XMLRPC", "http://other:2633/RPC2")
	assert.Equal(t, "http://other:2633/RPC2", endpoint())

	t.Setenv("ONE_XMLRPC", "")
	require.NoError(t, os.Remove(home+"/.one/one_endpoint"))
	require.NoError(t, os.Mkdir(home+"/.one/one_endpoint", 0o700))
	_, err := NewClient(Config{Session: secret})
	require.Error(t, err)
	t.Setenv("HOME", "")
	assert.Equal(t, DefaultEndpoint, endpoint())

	for _, bad := range []string{"ftp://x", "localhost:2633", "http://", "://", "http://u:pw@"} {
		_, err := NewClient(Config{Session: secret, Endpoint: bad})
		require.Error(t, err, bad)
		assert.NotContains(t, err.Error(), "pw@")
	}
}

func FuzzReadAnswer(f *testing.F) {
	for _, name := range []string{"response", "no-such-vm.response", "bad-auth.response"} {
		f.Add(fixture(f, "rpc/one.vm.info."+name+".xml"))
	}
	f.Add(emptyAnswer)
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := readAnswer("one.vm.info", body)
		var api *APIError
		if err != nil && !errors.As(err, &api) {
			require.ErrorIs(t, err, ErrUnreachable)
		}
	})
}
