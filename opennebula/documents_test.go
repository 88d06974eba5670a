package opennebula

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseImageOfARealOned(t *testing.T) {
	image, err := ParseImage(reader(t, "image-0.xml"))
	require.NoError(t, err)
	assert.Equal(t, &Image{
		ID: 0, Name: "os1", UserName: "oneadmin", Source: "lv-oneimg-0", Path: "/srv/images/test.raw", Type: ImageOS,
		Format: "raw", Size: 1024, State: 1, DatastoreID: 100, CloningID: None, TargetSnapshot: None,
		Template: map[string]string{"DEV_PREFIX": "vd"},
		Access:   Access{OwnerUse: true, OwnerManage: true},
	}, image)
	assert.False(t, image.SaveAs())
}

func TestImageFileSystem(t *testing.T) {
	for name, test := range map[string]struct {
		inner, fstype string
		saveAs        bool
	}{
		"since 6.0":                    {"<FORMAT>raw</FORMAT><FS>ext4</FS>", "ext4", false},
		"up to 5.12":                   {"<FSTYPE>ext3</FSTYPE>", "ext3", false},
		"only the template":            {"<FS></FS><TEMPLATE><FSTYPE>xfs</FSTYPE></TEMPLATE>", "xfs", false},
		"none":                         {"<FORMAT>raw</FORMAT>", "", false},
		"save_as since 6.0":            {"<FORMAT>save_as</FORMAT>", "", true},
		"save_as up to 5.12":           {"<FSTYPE>save_as</FSTYPE>", "", true},
		"save_as keeps the template's": {"<FSTYPE>save_as</FSTYPE><TEMPLATE><FSTYPE>xfs</FSTYPE></TEMPLATE>", "xfs", true},
	} {
		t.Run(name, func(t *testing.T) {
			image, err := ParseImage(strings.NewReader("<IMAGE><ID>7</ID>" + test.inner + "</IMAGE>"))
			require.NoError(t, err)
			assert.Equal(t, test.fstype, image.FSType)
			assert.Equal(t, test.saveAs, image.SaveAs())
		})
	}
}

func TestParseDatastoreOfARealOned(t *testing.T) {
	image, err := ParseDatastore(reader(t, "datastore-100.xml"))
	require.NoError(t, err)
	assert.Equal(t, "vg-one", image.Template["VG_NAME"])
	image.Template = nil
	assert.Equal(t, &Datastore{
		ID: 100, Name: "clvm_img", DSMAD: "clvm", TMMAD: "clvm", BasePath: "/var/lib/one/datastores/100",
		Type: DatastoreImage, ClusterIDs: []int{0},
	}, image)
	assert.Equal(t, "datastore 100", image.Origin())

	system, err := ParseDatastore(reader(t, "datastore-101.xml"))
	require.NoError(t, err)
	assert.Equal(t, DatastoreSystem, system.Type)
}

func TestParseDatastoreOfOldVersions(t *testing.T) {
	old, err := ParseDatastore(strings.NewReader(
		"<DATASTORE><ID>0</ID><SYSTEM>1</SYSTEM><TMMAD>cxm</TMMAD><CLUSTER_ID>3</CLUSTER_ID></DATASTORE>"))
	require.NoError(t, err)
	assert.Equal(t, DatastoreSystem, old.Type)
	assert.Equal(t, []int{3}, old.ClusterIDs)
	assert.Equal(t, "cxm", old.TMMAD)

	alone, err := ParseDatastore(strings.NewReader("<DATASTORE><ID>1</ID><CLUSTER_ID>-1</CLUSTER_ID></DATASTORE>"))
	require.NoError(t, err)
	assert.Equal(t, DatastoreImage, alone.Type)
	assert.Empty(t, alone.ClusterIDs)
}

func TestParseHost(t *testing.T) {
	host, err := ParseHost(reader(t, "host-0.xml"))
	require.NoError(t, err)
	assert.Equal(t, &Host{ID: 0, Name: "node1", State: 0, ClusterID: 0, VMMAD: "rhcs"}, host)
	assert.True(t, host.Usable())
	for _, state := range []HostState{HostError, HostDisabled, HostMonitoringError, HostMonitoringDisabled, HostOffline} {
		assert.False(t, (&Host{State: state}).Usable())
	}
}

func TestParseHostPool(t *testing.T) {
	pool := "<HOST_POOL>" + string(fixture(t, "host-0.xml")) +
		"<HOST><ID>1</ID><NAME>a cloud region</NAME><VMS><ID>4</ID><ID>6</ID></VMS></HOST></HOST_POOL>"
	hosts, err := ParseHostPool(strings.NewReader(pool))
	require.NoError(t, err)
	require.Len(t, hosts, 2)
	assert.Equal(t, []int{4, 6}, hosts[1].VMs)
	assert.ErrorIs(t, CheckHost(hosts[1].Name), ErrUsage)
}

func TestParsersRefuse(t *testing.T) {
	parsers := map[string]func(io.Reader) error{
		"images":    func(r io.Reader) error { _, err := ParseImagePool(r); return err },
		"image":     func(r io.Reader) error { _, err := ParseImage(r); return err },
		"datastore": func(r io.Reader) error { _, err := ParseDatastore(r); return err },
		"host":      func(r io.Reader) error { _, err := ParseHost(r); return err },
		"host pool": func(r io.Reader) error { _, err := ParseHostPool(r); return err },
		"action":    func(r io.Reader) error { _, err := ParseDriverAction(r); return err },
	}
	for name, documents := range map[string][]string{
		"image":     {"<VM/>", "<IMAGE/>", "<IMAGE><ID>x</ID></IMAGE>", "<IMAGE><ID>1</ID><SIZE>big</SIZE></IMAGE>"},
		"datastore": {"<VM/>", "<DATASTORE/>", "<DATASTORE><ID>1</ID><CLUSTERS><ID>a</ID></CLUSTERS></DATASTORE>"},
		"images":    {"<IMAGE/>"},
		"host":      {"<VM/>", "<HOST/>"},
		"host pool": {"<HOST/>", "<HOST_POOL><HOST/></HOST_POOL>"},
		"action": {"<VM/>", "<DS_DRIVER_ACTION_DATA/>", "<DS_DRIVER_ACTION_DATA><DATASTORE/></DS_DRIVER_ACTION_DATA>",
			"<DS_DRIVER_ACTION_DATA><IMAGE><SIZE>x</SIZE></IMAGE></DS_DRIVER_ACTION_DATA>"},
	} {
		for _, document := range documents {
			assert.ErrorIs(t, parsers[name](strings.NewReader(document)), ErrDocument, "%s: %s", name, document)
		}
	}
}

func TestDriverActionsOfARealOned(t *testing.T) {
	for name, check := range map[string]func(*DriverAction){
		"run1-0000-datastore-clvm-monitor": func(a *DriverAction) {
			assert.Nil(t, a.Image)
			assert.Equal(t, 100, a.Datastore.ID)
		},
		"run1-0002-datastore-clvm-stat": func(a *DriverAction) {
			assert.Equal(t, None, a.Image.ID)
			assert.Equal(t, "/srv/images/test.raw", a.Image.Path)
		},
		"run1-0004-datastore-clvm-cp": func(a *DriverAction) {
			assert.Equal(t, 0, a.Image.ID)
			assert.NotContains(t, a.Extras, "IMAGE")
		},
		"run1-0008-datastore-clvm-mkfs": func(a *DriverAction) {
			assert.Equal(t, "ext4", a.Image.FSType)
			assert.Equal(t, ImageDatablock, a.Image.Type)
			assert.True(t, a.Image.Persistent)
			assert.Equal(t, "vg-one", a.Datastore.Template["VG_NAME"])
		},
		"run1-0042-datastore-clvm-mkfs": func(a *DriverAction) { assert.True(t, a.Image.SaveAs()) },
	} {
		action, err := ParseDriverAction(reader(t, "calls/"+name+".stdin.xml"))
		require.NoError(t, err, name)
		check(action)
	}
}

func TestReadDriverAction(t *testing.T) {
	document := fixture(t, "calls/run1-0000-datastore-clvm-monitor.stdin.xml")
	encoded := base64.StdEncoding.EncodeToString(document)
	wrapped := encoded[:60] + "\n" + encoded[60:] + "\n"
	for name, test := range map[string]struct {
		argv  []string
		stdin string
	}{
		"up to 6.6":   {[]string{encoded, "100"}, "not for us"},
		"with -i":     {[]string{"-", "100"}, wrapped},
		"since 6.8":   {[]string{"100"}, encoded},
		"not encoded": {[]string{"100"}, string(document)},
	} {
		t.Run(name, func(t *testing.T) {
			action, id, err := ReadDriverAction(test.argv, strings.NewReader(test.stdin))
			require.NoError(t, err)
			assert.Equal(t, 100, id)
			assert.Equal(t, 100, action.Datastore.ID)
		})
	}
	for name, test := range map[string]struct {
		argv   []string
		stdin  string
		target error
	}{
		"no arguments":   {nil, encoded, ErrUsage},
		"too many":       {[]string{encoded, "1", "2"}, "", ErrUsage},
		"no id":          {[]string{"x"}, encoded, ErrUsage},
		"empty document": {[]string{"100"}, " \n", ErrDocument},
		"not base64":     {[]string{"100"}, "???", ErrDocument},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := ReadDriverAction(test.argv, strings.NewReader(test.stdin))
			assert.ErrorIs(t, err, test.target)
		})
	}
}

func TestEncodeDocument(t *testing.T) {
	document := fixture(t, "image-0.xml")
	encoded := EncodeDocument(document)
	assert.Equal(t, byte('\n'), encoded[len(encoded)-1])
	decoded, err := ReadDocument(bytes.NewReader(encoded))
	require.NoError(t, err)
	assert.Equal(t, document, decoded)
}

func TestExtras(t *testing.T) {
	action, err := ParseDriverAction(strings.NewReader(`<DS_DRIVER_ACTION_DATA><DATASTORE><ID>1</ID></DATASTORE>
		<DATASTORE_LOCATION>/var/lib/one//datastores</DATASTORE_LOCATION><MONITOR_VM_DISKS>1</MONITOR_VM_DISKS>
		</DS_DRIVER_ACTION_DATA>`))
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"DATASTORE_LOCATION": "/var/lib/one//datastores", "MONITOR_VM_DISKS": "1"}, action.Extras)
}

func TestBoundedDocument(t *testing.T) {
	_, err := readBounded(bytes.NewReader(make([]byte, 11)), 10)
	require.ErrorIs(t, err, ErrDocument)
	data, err := readBounded(bytes.NewReader(make([]byte, 10)), 10)
	require.NoError(t, err)
	assert.Len(t, data, 10)

	broken := errors.New("cable cut")
	_, err = ReadDocument(iotest.ErrReader(broken))
	require.ErrorIs(t, err, broken)
	_, err = ParseVM(iotest.ErrReader(broken))
	assert.ErrorIs(t, err, broken)
}
