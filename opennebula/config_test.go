package opennebula

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDaemonConfig(t *testing.T) {
	c, err := ParseDaemonConfig(strings.NewReader(`<OPENNEBULA_CONFIGURATION>
<TM_MAD><ARGUMENTS><![CDATA[-t 15 -d dummy,lvm,clvm]]></ARGUMENTS><EXECUTABLE>one_tm</EXECUTABLE></TM_MAD>
<TM_MAD_CONF><NAME>lvm</NAME><SHARED>NO</SHARED></TM_MAD_CONF><TM_MAD_CONF><NAME>clvm</NAME><SHARED>YES</SHARED></TM_MAD_CONF>
<HOST_HOOK><NAME>error</NAME><ON>ERROR</ON><COMMAND>ft/host_error.rb</COMMAND><ARGUMENTS>$ID -r</ARGUMENTS></HOST_HOOK>
</OPENNEBULA_CONFIGURATION>`))
	require.NoError(t, err)
	settings, ok := c.Driver("TM_MAD_CONF", "clvm")
	assert.True(t, ok)
	assert.Equal(t, "YES", settings["SHARED"])
	_, ok = c.Driver("DS_MAD_CONF", "clvm")
	assert.False(t, ok)
	assert.Equal(t, []string{"dummy", "lvm", "clvm"}, c.Argument("TM_MAD", "-d"))
	assert.Empty(t, c.Argument("TM_MAD", "-s"))
	assert.Empty(t, c.Argument("DATASTORE_MAD", "-d"))
	hooks := c.HostHooks()
	require.Len(t, hooks, 1)
	assert.Equal(t, Hook{ID: None, Name: "error", Resource: "HOST", State: "ERROR", Command: "ft/host_error.rb", Arguments: "$ID -r"}, hooks[0])
	assert.True(t, hooks[0].OnHostError())
	_, err = ParseDaemonConfig(strings.NewReader("<HOST/>"))
	require.ErrorIs(t, err, ErrDocument)
}

func TestHookPool(t *testing.T) {
	hooks, err := ParseHookPool(strings.NewReader(`<HOOK_POOL><HOOK><ID>3</ID><NAME>ft</NAME><TYPE>state</TYPE><TEMPLATE>
<ARGUMENTS>$TEMPLATE -m -p 5</ARGUMENTS><ARGUMENTS_STDIN>yes</ARGUMENTS_STDIN><COMMAND>ft/host_error.rb</COMMAND><REMOTE>no</REMOTE><RESOURCE>HOST</RESOURCE><STATE>ERROR</STATE></TEMPLATE></HOOK>
<HOOK><ID>4</ID><NAME>api</NAME><TYPE>api</TYPE><TEMPLATE><CALL>one.vm.allocate</CALL></TEMPLATE></HOOK>
<HOOK><ID>5</ID><NAME>vm</NAME><TEMPLATE><RESOURCE>VM</RESOURCE><STATE>ERROR</STATE></TEMPLATE></HOOK></HOOK_POOL>`))
	require.NoError(t, err)
	require.Len(t, hooks, 3)
	assert.True(t, hooks[0].OnHostError())
	assert.False(t, hooks[1].OnHostError())
	assert.False(t, hooks[2].OnHostError())
	_, err = ParseHookPool(strings.NewReader("<HOOK_POOL><HOOK><NAME>x</NAME></HOOK></HOOK_POOL>"))
	require.ErrorIs(t, err, ErrDocument)
}

// An oned without hooks of its own (up to 5.8) has none; one that answers tells them.
func TestHooks(t *testing.T) {
	unknown := `<?xml version="1.0"?><methodResponse><fault><value><struct>
<member><name>faultCode</name><value><int>-506</int></value></member>
<member><name>faultString</name><value><string>Method 'one.hookpool.info' not defined</string></value></member>
</struct></value></fault></methodResponse>`
	hooks, err := client(t, Config{Endpoint: startOned(t, []byte(unknown)).URL}).Hooks(t.Context())
	require.NoError(t, err)
	assert.Empty(t, hooks)
	o := startOned(t, success("<HOOK_POOL><HOOK><ID>3</ID><NAME>ft</NAME></HOOK></HOOK_POOL>"))
	hooks, err = client(t, Config{Endpoint: o.URL}).Hooks(t.Context())
	require.NoError(t, err)
	assert.Len(t, hooks, 1)
	assert.Contains(t, o.requests[0], "one.hookpool.info")
}

func TestHostMemory(t *testing.T) {
	h, err := ParseHost(strings.NewReader("<HOST><ID>0</ID><NAME>n</NAME><STATE>2</STATE><HOST_SHARE><MEM_USAGE>2097152</MEM_USAGE></HOST_SHARE></HOST>"))
	require.NoError(t, err)
	assert.Equal(t, int64(2048), h.MemUsage)
}
