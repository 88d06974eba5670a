package opennebula

import "strconv"

// State is VM/STATE.
type State int

// The states of a VM.
const (
	StateInit           State = 0
	StatePending        State = 1
	StateHold           State = 2
	StateActive         State = 3
	StateStopped        State = 4
	StateSuspended      State = 5
	StateDone           State = 6
	StateFailed         State = 7 // up to 4.12
	StatePoweroff       State = 8
	StateUndeployed     State = 9
	StateCloning        State = 10
	StateCloningFailure State = 11
)

var stateNames = []string{
	"INIT", "PENDING", "HOLD", "ACTIVE", "STOPPED", "SUSPENDED", "DONE", "FAILED",
	"POWEROFF", "UNDEPLOYED", "CLONING", "CLONING_FAILURE",
}

func (s State) String() string { return nameOf(stateNames, int(s)) }

// LCMState is VM/LCM_STATE: what an active VM is doing.
type LCMState int

// The states that drivers tell apart; String knows the names of all.
const (
	LCMProlog                      LCMState = 1
	LCMRunning                     LCMState = 3
	LCMMigrate                     LCMState = 4
	LCMPrologMigrate               LCMState = 8
	LCMPrologResume                LCMState = 9
	LCMEpilogStop                  LCMState = 10
	LCMEpilog                      LCMState = 11
	LCMUnknown                     LCMState = 16
	LCMEpilogUndeploy              LCMState = 30
	LCMPrologUndeploy              LCMState = 31
	LCMEpilogStopFailure           LCMState = 41
	LCMEpilogUndeployFailure       LCMState = 42
	LCMPrologResumeFailure         LCMState = 49
	LCMPrologUndeployFailure       LCMState = 50
	LCMPrologMigrateUnknown        LCMState = 60
	LCMPrologMigrateUnknownFailure LCMState = 61
)

var lcmNames = []string{
	"LCM_INIT", "PROLOG", "BOOT", "RUNNING", "MIGRATE", "SAVE_STOP", "SAVE_SUSPEND", "SAVE_MIGRATE",
	"PROLOG_MIGRATE", "PROLOG_RESUME", "EPILOG_STOP", "EPILOG", "SHUTDOWN", "CANCEL", "FAILURE",
	"CLEANUP_RESUBMIT", "UNKNOWN", "HOTPLUG", "SHUTDOWN_POWEROFF", "BOOT_UNKNOWN", "BOOT_POWEROFF",
	"BOOT_SUSPENDED", "BOOT_STOPPED", "CLEANUP_DELETE", "HOTPLUG_SNAPSHOT", "HOTPLUG_NIC", "HOTPLUG_SAVEAS",
	"HOTPLUG_SAVEAS_POWEROFF", "HOTPLUG_SAVEAS_SUSPENDED", "SHUTDOWN_UNDEPLOY", "EPILOG_UNDEPLOY",
	"PROLOG_UNDEPLOY", "BOOT_UNDEPLOY", "HOTPLUG_PROLOG_POWEROFF", "HOTPLUG_EPILOG_POWEROFF", "BOOT_MIGRATE",
	"BOOT_FAILURE", "BOOT_MIGRATE_FAILURE", "PROLOG_MIGRATE_FAILURE", "PROLOG_FAILURE", "EPILOG_FAILURE",
	"EPILOG_STOP_FAILURE", "EPILOG_UNDEPLOY_FAILURE", "PROLOG_MIGRATE_POWEROFF",
	"PROLOG_MIGRATE_POWEROFF_FAILURE", "PROLOG_MIGRATE_SUSPEND", "PROLOG_MIGRATE_SUSPEND_FAILURE",
	"BOOT_UNDEPLOY_FAILURE", "BOOT_STOPPED_FAILURE", "PROLOG_RESUME_FAILURE", "PROLOG_UNDEPLOY_FAILURE",
	"DISK_SNAPSHOT_POWEROFF", "DISK_SNAPSHOT_REVERT_POWEROFF", "DISK_SNAPSHOT_DELETE_POWEROFF",
	"DISK_SNAPSHOT_SUSPENDED", "DISK_SNAPSHOT_REVERT_SUSPENDED", "DISK_SNAPSHOT_DELETE_SUSPENDED",
	"DISK_SNAPSHOT", "DISK_SNAPSHOT_REVERT", "DISK_SNAPSHOT_DELETE", "PROLOG_MIGRATE_UNKNOWN",
	"PROLOG_MIGRATE_UNKNOWN_FAILURE", "DISK_RESIZE", "DISK_RESIZE_POWEROFF", "DISK_RESIZE_UNDEPLOYED",
	"HOTPLUG_NIC_POWEROFF", "HOTPLUG_RESIZE", "HOTPLUG_SAVEAS_UNDEPLOYED", "HOTPLUG_SAVEAS_STOPPED",
	"BACKUP", "BACKUP_POWEROFF", "RESTORE",
}

func (s LCMState) String() string { return nameOf(lcmNames, int(s)) }

func nameOf(names []string, n int) string {
	if n < 0 || n >= len(names) {
		return strconv.Itoa(n)
	}
	return names[n]
}
