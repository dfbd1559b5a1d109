//go:build !js

package tui

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lostbeat/internal/guard"

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
type Model struct {
	ui *ui
	// failed is the panic that ends the program, once it has given the terminal
	// back; nil for none.
	failed *guard.PanicError
}

// framesPerSecond is how often the terminal is brought up to date, and so how
// soon it shows what a key did. Bubbletea's own 60 costs more than all else that
// a quiet session does.
const framesPerSecond = 10

// NewModel returns the program's model; Run is the usual way to use it.
func NewModel(opt Options) *Model { return &Model{ui: newUI(opt)} }

// panicMsg says that a command has panicked.
type panicMsg struct{ fault *guard.PanicError }

// guarded calls f and notes its panic.
func (m *Model) guarded(f func()) {
	var panicked *guard.PanicError
	if errors.As(guard.Do("the screen", func() error { f(); return nil }), &panicked) && m.failed == nil {
		m.failed = panicked
	}
}

// beside calls f, which runs beside the loop; its panic becomes a message.
func beside(f func() tea.Msg) (msg tea.Msg) {
	var panicked *guard.PanicError
	if errors.As(guard.Do("the screen", func() error { msg = f(); return nil }), &panicked) {
		return panicMsg{panicked}
	}
	return msg
}

// tickNow is a tick that asks for the next one.
type tickNow struct{ message }

// Init implements tea.Model.
func (m *Model) Init() tea.Cmd { return tea.Batch(tea.RequestBackgroundColor, m.tick()) }

func (m *Model) tick() tea.Cmd {
	every := tickLive
	if m.ui.opt.Player != nil || m.ui.noticed > 0 {
		every = tickEvery
	}
	return tea.Tick(every, func(time.Time) tea.Msg {
		return beside(func() tea.Msg { return tickNow{m.ui.poll()} })
	})
}

// Update implements tea.Model.
func (m *Model) Update(msg tea.Msg) (_ tea.Model, cmd tea.Cmd) {
	m.guarded(func() { cmd = m.update(msg) })
	if m.failed != nil {
		return m, tea.Quit
	}
	return m, cmd
}

func (m *Model) update(msg tea.Msg) tea.Cmd {
	u := m.ui
	switch msg := msg.(type) {
	case tickNow:
		return tea.Batch(wrapCommand(u.update(msg.message)), m.tick())
	case panicMsg:
		m.failed = msg.fault
	case tea.WindowSizeMsg:
		u.resize(msg.Width, msg.Height)
	case tea.BackgroundColorMsg:
		u.background(!msg.IsDark())
	case tea.KeyPressMsg:
		return wrapCommand(u.key(msg.String(), msg))
	case tea.PasteMsg:
		if u.prompt != nil {
			u.prompt.take(msg)
			u.drawn = false
		}
	case tea.MouseWheelMsg:
		switch msg.Button {
		case tea.MouseWheelUp:
			return wrapCommand(u.key("up", nil))
		case tea.MouseWheelDown:
			return wrapCommand(u.key("down", nil))
		}
	case tea.MouseClickMsg:
		if msg.Button == tea.MouseLeft {
			u.opening, u.worst = false, nil
			return wrapCommand(u.click(msg.X, msg.Y))
		}
	case quitMsg:
		return tea.Quit
	case copyMsg:
		return tea.SetClipboard(msg.text)
	default:
		return wrapCommand(u.update(msg))
	}
	return nil
}

func wrapCommand(c command) tea.Cmd {
	if c == nil {
		return nil
	}
	return func() tea.Msg { return beside(func() tea.Msg { return c() }) }
}

// View implements tea.Model.
func (m *Model) View() tea.View {
	content := "" // of a screen that is about to be given back
	m.guarded(func() { content = m.ui.render() })
	v := tea.NewView(content)
	v.AltScreen = true
	if !m.ui.opt.NoMouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	v.WindowTitle = "lostbeat"
	return v
}

// Run shows the user interface until the reader quits, which is no error, or
// ctx is done. A panic ends it with a [guard.PanicError], after the terminal was
// given back.
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
	model := NewModel(opt)
	_, err := tea.NewProgram(model, options...).Run()
	switch {
	case model.failed != nil:
		return model.failed
	case err == nil, errors.Is(err, tea.ErrInterrupted), ctx.Err() != nil && errors.Is(err, tea.ErrProgramKilled):
		return nil
	}
	return fmt.Errorf("terminal: %w", err)
}
