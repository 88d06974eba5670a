package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"one-clvm/lab/wire"
)

// fenceMetadata is what Pacemaker asks for before it uses an agent (the fence agents' API
// of ClusterLabs).
const fenceMetadata = `<?xml version="1.0"?>
<resource-agent name="fence_lab" shortdesc="Power switch of the lab">
  <longdesc>Kills the QEMU process of a node.</longdesc>
  <parameters>
    <parameter name="action" unique="0" required="1">
      <getopt mixed="-o, --action=[action]"/><content type="string" default="reboot"/><shortdesc lang="en">What to do</shortdesc>
    </parameter>
    <parameter name="port" unique="0" required="0">
      <getopt mixed="-n, --plug=[node]"/><content type="string"/><shortdesc lang="en">The node</shortdesc>
    </parameter>
  </parameters>
  <actions>
    <action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="metadata"/>
  </actions>
</resource-agent>
`

// fence is a fence agent: "name=value" lines on its input, as dlm_controld and
// Pacemaker write them, or -o ACTION -n NODE. The switch itself is the lab, which
// kills the node's QEMU and answers when it is gone.
func fence(input io.Reader, args []string) error {
	action, node := "off", ""
	lines := bufio.NewScanner(input)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch name {
		case "action", "option":
			action = value
		case "port", "plug":
			node = value
		}
	}
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "-o":
			action = args[i+1]
		case "-n":
			node = args[i+1]
		}
	}
	switch action {
	case "off", "reboot":
	case "on", "monitor", "status":
		return nil
	case "metadata", "meta-data":
		_, err := io.WriteString(os.Stdout, fenceMetadata)
		return err
	default:
		return fmt.Errorf("fence: no action %q", action)
	}
	if node == "" {
		return errors.New("fence: no node is named (port=)")
	}
	return switchOff(node)
}

func switchOff(node string) error {
	port, err := openPort(wire.FencePort)
	if err != nil {
		return err
	}
	defer port.Close() // no file
	if _, err := fmt.Fprintf(port, "off %s\n", node); err != nil {
		return fmt.Errorf("fence %s: %w", node, err)
	}
	answer, err := bufio.NewReader(port).ReadString('\n')
	if err != nil {
		return fmt.Errorf("fence %s: the lab does not answer: %w", node, err)
	}
	if answer = strings.TrimSpace(answer); answer != wire.FenceDone {
		return fmt.Errorf("fence %s: %s", node, answer)
	}
	return nil
}
