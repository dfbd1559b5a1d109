package main

import (
	"errors"
	"os/exec"
	"time"

	"lostbeat/internal/spawn"
	"lostbeat/model"
	"lostbeat/pipeline"
	"lostbeat/sink/notify"

	"github.com/spf13/cobra"
)

// lastDelivery is how long the end of a command waits for findings to be delivered.
const lastDelivery = 5 * time.Second

// notifyFlags are the flags of the commands that hand findings to others.
type notifyFlags struct {
	exec, webhook string
	otlp          otlpFlags
}

func (f *notifyFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.exec, "exec", "", "run this `COMMAND` when a finding starts, gets worse or ends, with the "+
		"finding as JSON on standard input and a summary in LOSTBEAT_FINDING_* variables; no shell, at most 4 at once, "+
		"30 s each")
	cmd.Flags().StringVar(&f.webhook, "webhook", "", "send the same JSON to this `URL` by POST, with retries; redirects "+
		"to other servers are not followed")
	f.otlp.register(cmd)
}

// urls are those of the servers that findings are sent to.
func (f *notifyFlags) urls() (list []string) {
	if f.webhook != "" {
		list = append(list, f.webhook)
	}
	return append(list, f.otlp.urls()...)
}

// outputs starts them, and returns what delivers the rest and ends them. say is told what could not be delivered.
// helper says that the program is run by a helper process, because this one will not be able to. recording is the file
// with the events around findings, "" for none.
func (f *notifyFlags) outputs(
	say func(string), helper bool, recording string,
) (outputs []pipeline.Output, closeAll func(), err error) {
	var started []interface{ Close(within time.Duration) }
	closeAll = func() {
		for _, n := range started {
			n.Close(lastDelivery)
		}
	}
	add := func(name string, n *notify.Notifier, startErr error) {
		if startErr != nil {
			err = errors.Join(err, startErr)
			return
		}
		started = append(started, n)
		outputs = append(outputs, pipeline.Output{Name: name, Sink: n, Kinds: []model.Kind{model.KindFinding}})
	}
	if f.exec != "" {
		command, splitErr := notify.SplitCommand(f.exec)
		if splitErr != nil {
			return nil, nil, splitErr
		}
		var programs spawn.Run
		if path, lookErr := exec.LookPath(command[0]); helper && lookErr == nil {
			if programs, err = startPrograms(spawn.Program{Path: path, Args: command[1:]}); err != nil {
				return nil, nil, err
			}
		}
		n, startErr := notify.Exec{Command: command, Say: say, Programs: programs}.Start()
		add("--exec", n, startErr)
	}
	if f.webhook != "" {
		n, startErr := notify.Webhook{URL: f.webhook, Agent: "lostbeat/" + version, Say: say}.Start()
		add("--webhook", n, startErr)
	}
	if f.otlp.on() && err == nil {
		exporter, output, startErr := f.otlp.start(say, recording)
		err = startErr
		if startErr == nil {
			started, outputs = append(started, exporter), append(outputs, output)
		}
	}
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return outputs, closeAll, nil
}
