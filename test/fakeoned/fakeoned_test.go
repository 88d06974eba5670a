package fakeoned

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/kolo/xmlrpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func start(t *testing.T) (*Server, *xmlrpc.Client) {
	t.Helper()
	s, err := Listen("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	client, err := xmlrpc.NewClient(s.URL(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return s, client
}

func post(t *testing.T, s *Server, body string) string {
	t.Helper()
	response, err := http.Post(s.URL(), "text/xml", strings.NewReader(body))
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

func call(t *testing.T, client *xmlrpc.Client, method string, params ...any) []any {
	t.Helper()
	var result []any
	require.NoError(t, client.Call(method, params, &result))
	return result
}

func recordedText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/oned-7.4/rpc/" + name)
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}

// The answers are those of a real oned, byte by byte.
func TestAnswersAreTheRecordedOnes(t *testing.T) {
	s, _ := start(t)
	request := recordedText(t, "one.vm.info.request.xml")

	want := recordedText(t, "one.vm.info.response.xml")
	envelope := etree.NewDocument()
	require.NoError(t, envelope.ReadFromString(want))
	s.Put(VMs, 1, envelope.FindElement("//string").Text())
	assert.True(t, want == strings.TrimSpace(post(t, s, request)), "the answer differs from the recorded one")

	assert.Equal(t, recordedText(t, "one.vm.info.no-such-vm.response.xml"),
		strings.TrimSpace(post(t, s, strings.Replace(request, "<i4>1</i4>", "<i4>999</i4>", 1))))
	assert.Equal(t, recordedText(t, "one.vm.info.bad-auth.response.xml"),
		strings.TrimSpace(post(t, s, strings.Replace(request, "oneadmin:opennebula", "oneadmin:wrong", 1))))
}

func TestDocuments(t *testing.T) {
	image := Image{ID: 7, Name: "debian", Source: "/var/lib/one/datastores/100/abc", SizeMiB: 300,
		Template: map[string]string{"MODE": "TGZ", "SIZE": "8G", "FSTYPE": "ext4"}}
	doc := etree.NewDocument()
	require.NoError(t, doc.ReadFromString(image.Document()))
	assert.Equal(t, "TGZ", doc.FindElement("/IMAGE/TEMPLATE/MODE").Text())
	assert.Equal(t, "300", doc.FindElement("/IMAGE/SIZE").Text())

	vm := VM{ID: 42, Name: `it's "a" <vm>`, Host: "node2", Context: 4, Disks: []Disk{
		CloneDisk(0, image, 9000), VolatileDisk(1, "xfs", 512), SwapDisk(2, 256),
		PersistentDisk(3, image).With(map[string]string{"SHAREABLE": "YES"}),
	}}
	doc = etree.NewDocument()
	require.NoError(t, doc.ReadFromString(vm.Document()))
	assert.Equal(t, vm.Name, doc.FindElement("/VM/NAME").Text())
	assert.Equal(t, "node2", doc.FindElement("//HISTORY/HOSTNAME").Text())
	disks := doc.FindElements("/VM/TEMPLATE/DISK")
	require.Len(t, disks, 4)
	for i, want := range []map[string]string{
		{"DISK_ID": "0", "IMAGE_ID": "7", "SIZE": "9000", "ORIGINAL_SIZE": "300", "CLONE": "YES"},
		{"DISK_ID": "1", "FS": "xfs", "SIZE": "512", "DATASTORE_ID": "101"},
		{"DISK_ID": "2", "TYPE": "swap", "SIZE": "256"},
		{"DISK_ID": "3", "PERSISTENT": "YES", "SHAREABLE": "YES"},
	} {
		for name, value := range want {
			assert.Equal(t, value, disks[i].SelectElement(name).Text(), "disk %d %s", i, name)
		}
	}
	assert.Nil(t, disks[1].SelectElement("IMAGE_ID"))
}

func TestUpdateImage(t *testing.T) {
	s, client := start(t)
	s.Put(Images, 3, Image{ID: 3, Template: map[string]string{"MODE": "RAW", "FSTYPE": "xfs"}}.Document())
	result := call(t, client, "one.image.update", Session, 3, "MODE=\"TGZ\"\nSIZE = \"8G\"", 1)
	assert.Equal(t, []any{true, int64(3), int64(0)}, result)
	document := s.Document(Images, 3)
	for _, want := range []string{"<MODE><![CDATA[TGZ]]>", "<SIZE><![CDATA[8G]]>", "<FSTYPE><![CDATA[xfs]]>"} {
		assert.Contains(t, document, want)
	}
	call(t, client, "one.image.update", Session, 3, "A=b", 0)
	assert.NotContains(t, s.Document(Images, 3), "FSTYPE")
	result = call(t, client, "one.image.update", Session, 4, "A=b", 0)
	assert.Equal(t, "[one.image.update] Error getting image [4].", result[1])
	result = call(t, client, "one.image.update", Session, 3, "nonsense", 1)
	assert.Equal(t, false, result[0])
}

// An update that leaves TM_MAD in the template sets the targets anew, whatever it says of them.
func TestDatastoreIsUpdated(t *testing.T) {
	s, client := start(t)
	id, err := s.CreateDatastore("NAME = \"images\"\nDS_MAD = \"fs\"\nTM_MAD = \"clvm\"\nLN_TARGET = \"NONE\"\n")
	require.NoError(t, err)
	require.Equal(t, ImageDS, id)
	targets := func() string {
		template := readDocument(s.Document(Datastores, id)).FindElement("/DATASTORE/TEMPLATE")
		text := func(name string) string { return template.SelectElement(name).Text() }
		return text("TM_MAD") + " " + text("LN_TARGET") + " " + text("DISK_TYPE")
	}
	for _, c := range []struct{ update, want string }{
		{"A=b", "clvm SYSTEM BLOCK"}, // what TM_MAD_CONF says, not what the template said
		{`LN_TARGET="NONE"`, "clvm SYSTEM BLOCK"},
		{"TM_MAD=\nLN_TARGET=\"NONE\"", "clvm NONE BLOCK"},
		{`A="c"`, "clvm SYSTEM BLOCK"},
	} {
		assert.Equal(t, true, call(t, client, "one.datastore.update", Session, id, c.update, 1)[0], c.update)
		assert.Equal(t, c.want, targets(), c.update)
	}
	s.Put(Configuration, 0, "<OPENNEBULA_CONFIGURATION><TM_MAD_CONF><NAME>ssh</NAME></TM_MAD_CONF></OPENNEBULA_CONFIGURATION>")
	result := call(t, client, "one.datastore.update", Session, id, "A=d", 1)
	assert.Equal(t, `[one.datastore.update] Cannot update template. TM_MAD named "clvm" is not defined in oned.conf`, result[1])
	_, err = s.CreateDatastore(`TM_MAD="clvm"`)
	require.Error(t, err)
	id, err = s.CreateDatastore("TYPE=SYSTEM_DS\nTM_MAD=ssh\nLN_TARGET=NONE")
	require.NoError(t, err)
	assert.Equal(t, ImageDS+1, id)
	assert.NotContains(t, s.Document(Datastores, id), "LN_TARGET")
}

func TestPoolAndDatastores(t *testing.T) {
	s, client := start(t)
	s.Put(Hosts, 1, Host(1, "node2", 2))
	s.Put(Hosts, 0, Host(0, "node1", 2))
	s.Put(Datastores, ImageDS, ImageDatastore(map[string]string{"VG_NAME": "vg-other"}))
	s.Put(Datastores, SystemDS, SystemDatastore(nil))
	result := call(t, client, "one.hostpool.info", Session)
	assert.Regexp(t, `(?s)^<HOST_POOL>.*node1.*node2.*</HOST_POOL>$`, result[1])
	result = call(t, client, "one.datastore.info", Session, ImageDS)
	assert.Contains(t, result[1], "vg-other")
	s.Put(Images, 5, Image{ID: 5, Name: "five"}.Document())
	result = call(t, client, "one.imagepool.info", Session, -2, -1, -1)
	assert.Regexp(t, `(?s)^<IMAGE_POOL><IMAGE>.*five.*</IMAGE_POOL>$`, result[1])
	s.Remove(Hosts, 0)
	result = call(t, client, "one.host.info", Session, 0)
	assert.Equal(t, false, result[0])
	assert.Len(t, s.Calls(), 4)
	assert.ErrorContains(t, client.Call("one.vm.action", []any{Session, "stop", 1}, nil), "not defined")
}

func TestMisbehaviour(t *testing.T) {
	s, _ := start(t)
	request := recordedText(t, "one.vm.info.request.xml")
	s.Behave(Behaviour{Session: "serveradmin:x"})
	assert.Contains(t, post(t, s, request), "couldn't be authenticated")
	s.Behave(Behaviour{Garbage: "<html>"})
	assert.Equal(t, "<html>", post(t, s, request))
	s.Behave(Behaviour{Status: http.StatusBadGateway, Delay: time.Millisecond})
	assert.Equal(t, "Bad Gateway\n", post(t, s, request))
	assert.Contains(t, post(t, s, "not XML"), "request")

	s.Behave(Behaviour{Hang: true})
	failed := make(chan error)
	go func() {
		response, err := http.Post(s.URL(), "text/xml", strings.NewReader(request))
		if err == nil {
			err = response.Body.Close()
		}
		failed <- err
	}()
	require.Eventually(t, func() bool { return len(s.Calls()) == 4 }, 10*time.Second, time.Millisecond)
	require.NoError(t, s.Close())
	assert.Error(t, <-failed)
}
