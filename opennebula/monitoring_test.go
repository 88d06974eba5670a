package opennebula

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var sight = VMSight{VM: 42, State: "RUNNING", CPU: 12.34, Figures: true, MemoryKiB: 524288, NetRX: 1, NetTX: 2, ReadBytes: 3, WriteBytes: 4, ReadOps: 5, WriteOps: 6}

func TestPollLine(t *testing.T) {
	const rest = " NETRX=1 NETTX=2 DISKRDBYTES=3 DISKWRBYTES=4 DISKRDIOPS=5 DISKWRIOPS=6"
	assert.Equal(t, "STATE=a CPU=12.3 MEMORY=524288"+rest, PollLine(Version{Major: 5, Minor: 10}, sight))
	assert.Equal(t, "STATE=a USEDCPU=12.3 USEDMEMORY=524288"+rest, PollLine(Version{Major: 3, Minor: 8}, sight))
	unmeasured := sight
	unmeasured.CPU = -1
	assert.Equal(t, "STATE=a MEMORY=524288"+rest, PollLine(Version{Major: 4, Minor: 14}, unmeasured))
	for state, letter := range map[string]string{"SUSPENDED": "p", "FAILURE": "e", "POWEROFF": "d", "UNKNOWN": "-"} {
		assert.Equal(t, "STATE="+letter, PollLine(Version{Major: 5}, VMSight{VM: 42, State: state, CPU: -1}))
	}
}

func TestProbesOfVMs(t *testing.T) {
	bare := VMSight{VM: 43, State: "UNKNOWN", CPU: -1}
	assert.Equal(t, "SYNC_STATE=yes\nMISSING_STATE=UNKNOWN\nVM = [ ID=\"42\", DEPLOY_ID=\"one-42\", STATE=\"RUNNING\" ]\nVM = [ ID=\"43\", DEPLOY_ID=\"one-43\", STATE=\"UNKNOWN\" ]\n",
		StatusProbe([]VMSight{sight, bare}, "UNKNOWN"))
	answer := MonitorProbe([]VMSight{sight, bare})
	match := regexp.MustCompile(`^VM = \[ ID="42", DEPLOY_ID="one-42", MONITOR="([A-Za-z0-9+/=]+)" \]\n$`).FindStringSubmatch(answer)
	require.NotNil(t, match, answer)
	figures, err := base64.StdEncoding.DecodeString(match[1])
	require.NoError(t, err)
	assert.Equal(t, "CPU=\"12.3\"\nMEMORY=\"524288\"\nNETRX=\"1\"\nNETTX=\"2\"\nDISKRDBYTES=\"3\"\nDISKWRBYTES=\"4\"\nDISKRDIOPS=\"5\"\nDISKWRIOPS=\"6\"\n", string(figures))
}

func TestNICsOfAVM(t *testing.T) {
	vm, err := ParseVM(strings.NewReader(`<VM><ID>42</ID><TEMPLATE><NIC><NIC_ID>1</NIC_ID><MAC>02:00:C0:A8:00:01</MAC><BRIDGE>br0</BRIDGE><BRIDGE_TYPE>linux</BRIDGE_TYPE><VN_MAD>802.1Q</VN_MAD><TARGET>one-42-1</TARGET><IP>10.0.0.1</IP></NIC><NIC/></TEMPLATE></VM>`))
	require.NoError(t, err)
	require.Len(t, vm.NICs, 2)
	nic := vm.NIC("02:00:c0:a8:00:01")
	require.NotNil(t, nic)
	assert.Equal(t, []any{1, "br0", "linux", "802.1Q", "one-42-1", "10.0.0.1"}, []any{nic.ID, nic.Bridge, nic.BridgeType, nic.Driver, nic.Target, nic.Attrs["IP"]})
	assert.Equal(t, None, vm.NICs[1].ID)
	assert.Nil(t, vm.NIC("02:00:c0:a8:00:02"))
}
