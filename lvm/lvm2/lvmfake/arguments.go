package lvmfake

import (
	"fmt"
	"strings"
)

// program is one of the fake programs: its options, and what it does.
type program struct {
	valued  string // options with a value, separated by blanks
	flags   string // options without
	execute func(h *Host, out *reply, args arguments)
}

var programs map[string]program

func init() {
	reporting := "--config --reportformat --units -o --options -S --select"
	programs = map[string]program{
		"lvs":        {reporting, "--nosuffix --noheadings -a --all", lvs},
		"vgs":        {reporting, "--nosuffix --noheadings -a --all", vgs},
		"pvs":        {reporting, "--nosuffix --noheadings -a --all --foreign --shared", pvs},
		"lvcreate":   {"--config -W --wipesignatures -Z --zero -a --activate -L --size -n --name --addtag --setautoactivation -c --chunksize", "-y --yes -s --snapshot", lvcreate},
		"lvremove":   {"--config", "-y --yes -f --force", lvremove},
		"lvrename":   {"--config", "-y --yes", lvrename},
		"lvextend":   {"--config -L --size", "-y --yes", lvextend},
		"lvchange":   {"--config -a --activate --addtag --deltag --setautoactivation", "-y --yes", lvchange},
		"vgchange":   {"--config --addtag --deltag", "-y --yes", vgchange},
		"lvm":        {"", "", lvmVersion},
		"lvmconfig":  {"", "", lvmconfig},
		"lvmlockctl": {"", "-i --info", lvmlockctl},

		"dlm_tool":         {"", "-M", dlmTool},
		"corosync-cmapctl": {"", "-b", corosyncCmapctl},
		"sanlock":          {"-h", "", sanlock},
	}
}

func (p program) run(h *Host, out *reply, args []string) {
	parsed, err := p.parse(h, args)
	if err != nil {
		out.fail(3, "%s", err)
		out.complain("Error during parsing of command line.")
		return
	}
	config, _ := parsed.last("--config")
	h.looksInside = h.looksIntoVolumes(config)
	p.execute(h, out, parsed)
}

// arguments of one call: the values of each option, and the rest.
type arguments struct {
	values map[string][]string
	rest   []string
}

// last is the value of an option given by any of its names.
func (a arguments) last(names ...string) (value string, ok bool) {
	for _, name := range names {
		if values := a.values[name]; len(values) > 0 {
			value, ok = values[len(values)-1], true
		}
	}
	return value, ok
}

func (a arguments) has(names ...string) bool {
	_, ok := a.last(names...)
	return ok
}

// parse reads options as getopt_long does: -n NAME, -nNAME, --name NAME, --name=NAME.
func (p program) parse(h *Host, args []string) (arguments, error) {
	parsed := arguments{values: map[string][]string{}}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if !strings.HasPrefix(arg, "-") {
			parsed.rest = append(parsed.rest, arg)
			continue
		}
		name, value, attached := split(arg)
		switch {
		case isIn(p.flags, name) && !attached:
			parsed.values[name] = append(parsed.values[name], "")
		case isIn(p.valued, name) && h.knows(name):
			if !attached {
				if len(args) == 0 {
					return parsed, fmt.Errorf("option '%s' requires an argument", name)
				}
				value, args = args[0], args[1:]
			}
			parsed.values[name] = append(parsed.values[name], value)
		default:
			return parsed, fmt.Errorf("unrecognized option '%s'", arg)
		}
	}
	return parsed, nil
}

func isIn(list, word string) bool {
	for _, other := range strings.Fields(list) {
		if other == word {
			return true
		}
	}
	return false
}

// split takes the value off an option that has it attached.
func split(arg string) (name, value string, attached bool) {
	if strings.HasPrefix(arg, "--") {
		return strings.Cut(arg, "=")
	}
	if len(arg) > 2 {
		return arg[:2], arg[2:], true
	}
	return arg, "", false
}

// knows says whether this host's LVM has the option.
func (h *Host) knows(option string) bool {
	return option != "--setautoactivation" || h.version >= "2.03.12"
}

// reply collects what a program prints.
type reply struct {
	stdout, stderr strings.Builder
	status         int
}

// say prints a message on stdout, complain on stderr. All messages of LVM begin with
// two blanks.
func (r *reply) say(format string, args ...any) { fmt.Fprintf(&r.stdout, "  "+format+"\n", args...) }

func (r *reply) complain(format string, args ...any) {
	fmt.Fprintf(&r.stderr, "  "+format+"\n", args...)
}

// fail complains and sets the exit status.
func (r *reply) fail(status int, format string, args ...any) {
	r.status = status
	r.complain(format, args...)
}
