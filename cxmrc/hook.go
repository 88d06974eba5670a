package cxmrc

// HookPath is where one-migrate-hook has its configuration, on nodes and front-ends.
const HookPath = "/etc/one-clvm/hook.conf"

// Hook are the variables of hook.conf.
var Hook = Registry{
	{Name: "FRONTENDS", Kind: KindHost, List: true, Optional: true,
		Doc: "On a node: the front-ends that are told, separated by blanks; each is tried until one answers."},
	{Name: "FRONTEND_USER", Kind: KindName, Default: "oneadmin",
		Doc: "On a node: the user of the front-ends whose authorized_keys has the key."},
	{Name: "SSH_KEY", Kind: KindPath, Default: "/etc/one-clvm/hook.key",
		Doc: "On a node: the private key for that. On the front-ends it can start one-migrate-hook receive and nothing else."},
	{Name: "SPOOL_DIR", Kind: KindPath, Default: "/var/spool/one-clvm",
		Doc: "On a node: where events wait. Those who call the hook (root, hacluster) must be able to write there."},
	{Name: "STATE_DIR", Kind: KindPath, Default: "/var/lib/one-clvm/hook",
		Doc: "What deliveries (node) and reports (front-end) remember."},
	{Name: "NODES", Kind: KindHost, List: true, Optional: true,
		Doc: "On a front-end: the nodes that reconcile asks where VMs are, separated by blanks. One answer speaks for all nodes of its cluster."},
	{Name: "LOCAL_MIGRATE", Kind: KindBool, Default: "False",
		Doc: "On a front-end: True says that oned.conf runs the VMM driver's migrate on the front-end (-l migrate=migrate_local), so that it works when the old node is dead."},
	{Name: "VERSION", Kind: KindText, Optional: true,
		Doc: "On a front-end: the version of OpenNebula, for 4.2 and older, which have no file that tells it."},
}

// LoadHook reads hook.conf. Only root may write it (ErrUntrusted).
func LoadHook(path string) (*Config, error) { return loadTrusted(path, Hook, 0) }
