//go:build !js

package tui

import (
	"context"
	"errors"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"
)

// tickEvery is how often the latest snapshot is looked for in a replay, whose
// clock runs, and while a notice is shown; tickLive is how often otherwise: what
// a live session shows is a second long, and waking up is most of what the
// screen of a quiet host costs.
const (
	tickEvery = 100 * time.Millisecond
	tickLive  = 250 * time.Millisecond
)

// Model is the terminal program: ui in the form that bubbletea wants.
type Model struct{ ui *ui }

// framesPerSecond is how often the terminal is brought up to date, and so how
// soon it shows what a key did. Bubbletea's own 60 costs more than all else that
// a quiet session does.
const framesPerSecond = 10

// NewModel returns the program's model; Run is the usual way to use it.
func NewModel(opt Options) *Model { return &Model{newUI(opt)} }

// tickNow is a tick that asks for the next one.
type tickNow struct{ message }

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd { return tea.Batch(tea.RequestBackgroundColor, m.tick()) }

func (m *Model) tick() tea.Cmd {
	every := tickLive
	if m.ui.opt.Player != nil || m.ui.noticed > 0 {
		every = tickEvery
	}
	return tea.Tick(every, func(time.Time) tea.Msg { return tickNow{m.ui.poll()} })
}

// Update implements tea.Model.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	u := m.ui
	switch msg := msg.(type) {
	case tickNow:
		return m, tea.Batch(wrapCommand(u.update(msg.message)), m.tick())
	case tea.WindowSizeMsg:
		u.resize(msg.Width, msg.Height)
	case tea.BackgroundColorMsg:
		u.background(!msg.IsDark())
	case tea.KeyPressMsg:
		return m, wrapCommand(u.key(msg.String(), msg.Text))
	case tea.PasteMsg:
		if u.prompt != nil {
			u.prompt.paste(msg.Content)
			u.drawn = false
		}
	case tea.MouseWheelMsg:
		switch msg.Button {
		case tea.MouseWheelUp:
			return m, wrapCommand(u.key("up", ""))
		case tea.MouseWheelDown:
			return m, wrapCommand(u.key("down", ""))
		}
	case tea.MouseClickMsg:
		if p, ok := u.tabAt(msg.X); ok && msg.Y == 1 && u.h >= 12 && u.prompt == nil {
			u.drawn = false
			return m, wrapCommand(u.goPage(p))
		}
	case quitMsg:
		return m, tea.Quit
	case copyMsg:
		return m, tea.SetClipboard(msg.text)
	default:
		return m, wrapCommand(u.update(msg))
	}
	return m, nil
}

func wrapCommand(c command) tea.Cmd {
	if c == nil {
		return nil
	}
	return func() tea.Msg { return c() }
}

// View implements tea.Model.
func (m *Model) View() tea.View {
	v := tea.NewView(m.ui.render())
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "lostbeat"
	return v
}

// Run shows the user interface until the reader quits, which is no error, or
// ctx is done.
func Run(ctx context.Context, opt Options) error {
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithFPS(framesPerSecond)}
	if opt.Input != nil {
		options = append(options, tea.WithInput(opt.Input))
	}
	if opt.Output != nil {
		options = append(options, tea.WithOutput(opt.Output))
	}
	if opt.Width > 0 && opt.Height > 0 {
		options = append(options, tea.WithWindowSize(opt.Width, opt.Height))
	}
	_, err := tea.NewProgram(NewModel(opt), options...).Run()
	switch {
	case err == nil, errors.Is(err, tea.ErrInterrupted), ctx.Err() != nil && errors.Is(err, tea.ErrProgramKilled):
		return nil
	}
	return fmt.Errorf("terminal: %w", err)
}
