package detect

import (
	"fmt"
	"lostbeat/fold"
	"strconv"
	"time"
)

// Duration is a time.Duration that is written as text ("10s") in TOML.
type Duration time.Duration

// Std returns d as a standard library duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

// Settings are the thresholds of all detectors. [Default] gives values that
// have been measured or have a source; [Settings.Fields] lists them all.
type Settings struct {
	Lifecycle  LifecycleSettings  `toml:"lifecycle"`
	Starvation StarvationSettings `toml:"starvation"`
	Ring       RingSettings       `toml:"ring"`
	Socket     SocketSettings     `toml:"socket"`
	Leak       LeakSettings       `toml:"leak"`
	Exhaustion ExhaustionSettings `toml:"exhaustion"`
	Counters   CounterSettings    `toml:"counters"`
}

// LifecycleSettings say how findings open, update and close.
type LifecycleSettings struct {
	Window       Duration `toml:"window"`
	UpdateEvery  Duration `toml:"update_every"`
	ClearAfter   Duration `toml:"clear_after"`
	ReopenWithin Duration `toml:"reopen_within"`
}

// StarvationSettings are the thresholds of dpc-starvation.
type StarvationSettings struct {
	BusyShare       float64  `toml:"busy_share"`
	ClearShare      float64  `toml:"clear_share"`
	SharedBusyShare float64  `toml:"shared_busy_share"`
	DropShare       float64  `toml:"drop_share"`
	MinDrops        uint64   `toml:"min_drops"`
	LateWait        Duration `toml:"late_wait"`
	LateCount       uint64   `toml:"late_count"`
	LongRun         Duration `toml:"long_run"`
	MaxSteal        float64  `toml:"max_steal"`
	DearPacket      Duration `toml:"dear_packet"`
	SqueezeShare    float64  `toml:"squeeze_share"`
	FullPollShare   float64  `toml:"full_poll_share"`
	SilentGaps      uint64   `toml:"silent_gaps"`
	LeastSilence    Duration `toml:"least_silence"`
	DPCGuideline    Duration `toml:"dpc_guideline"`
	ISRGuideline    Duration `toml:"isr_guideline"`
	GuidelineFactor float64  `toml:"guideline_factor"`
	Watchdog        Duration `toml:"watchdog"`
}

// RingSettings are the thresholds of ring-drop.
type RingSettings struct {
	MinDrops  uint64  `toml:"min_drops"`
	DropShare float64 `toml:"drop_share"`
}

// SocketSettings are the thresholds of socket-drop.
type SocketSettings struct {
	MinDrops    uint64   `toml:"min_drops"`
	StoppedIdle Duration `toml:"stopped_idle"`
	FullShare   float64  `toml:"full_share"`
	SlowShare   float64  `toml:"slow_share"`
}

// LeakSettings are the thresholds of port-leak.
type LeakSettings struct {
	MinPorts           uint64   `toml:"min_ports"`
	MinPortsFast       uint64   `toml:"min_ports_fast"`
	MinPortsBounded    uint64   `toml:"min_ports_bounded"`
	BoundedShare       float64  `toml:"bounded_share"`
	MinConnections     uint64   `toml:"min_connections"`
	MinConnectionsFast uint64   `toml:"min_connections_fast"`
	Evenness           float64  `toml:"evenness"`
	GivenBack          float64  `toml:"given_back"`
	KeepFor            Duration `toml:"keep_for"`
	ProofAfter         Duration `toml:"proof_after"`
	EarlyChurn         uint64   `toml:"early_churn"`
	CriticalWithin     Duration `toml:"critical_within"`
	VanishedPorts      uint64   `toml:"vanished_ports"`
	VanishedFactor     float64  `toml:"vanished_factor"`
	RestLinux          Duration `toml:"rest_linux"`
	RestWindows        Duration `toml:"rest_windows"`
}

// ExhaustionSettings are the thresholds of port-exhaustion.
type ExhaustionSettings struct {
	WarnShare   float64  `toml:"warn_share"`
	ClearShare  float64  `toml:"clear_share"`
	FullShare   float64  `toml:"full_share"`
	MinPorts    uint64   `toml:"min_ports"`
	FailuresFor Duration `toml:"failures_for"`
}

// CounterSettings are the thresholds for sampled counters (perfmon logs).
type CounterSettings struct {
	MinSamples   uint64  `toml:"min_samples"`
	BusyShare    float64 `toml:"busy_share"`
	RobustZ      float64 `toml:"robust_z"`
	Significance float64 `toml:"significance"`
	MaxSamples   uint64  `toml:"max_samples"`
}

// Default returns the settings as documented in docs/DETECTORS.md.
func Default() Settings {
	return Settings{
		Lifecycle: LifecycleSettings{
			Window:       Duration(3 * time.Second),
			UpdateEvery:  Duration(5 * time.Second),
			ClearAfter:   Duration(10 * time.Second),
			ReopenWithin: Duration(time.Minute),
		},
		Starvation: StarvationSettings{
			BusyShare:       0.70,
			ClearShare:      0.50,
			SharedBusyShare: 0.40,
			DropShare:       1.0 / 32,
			MinDrops:        100,
			LateWait:        Duration(10 * time.Millisecond),
			LateCount:       3,
			LongRun:         Duration(5 * time.Millisecond),
			MaxSteal:        0.05,
			DearPacket: Duration(
				5 * time.Microsecond,
			),
			SqueezeShare:  0.5,
			FullPollShare: 0.5,
			SilentGaps:    5,
			LeastSilence:  Duration(500 * time.Millisecond),
			DPCGuideline: Duration(
				100 * time.Microsecond,
			),
			ISRGuideline:    Duration(25 * time.Microsecond),
			GuidelineFactor: 10,
			Watchdog:        Duration(20 * time.Second),
		},
		Ring:   RingSettings{MinDrops: 50, DropShare: 0.001},
		Socket: SocketSettings{MinDrops: 20, StoppedIdle: Duration(2 * time.Second), FullShare: 0.9, SlowShare: 0.5},
		Leak: LeakSettings{
			MinPorts:           24,
			MinPortsFast:       40,
			MinPortsBounded:    8,
			BoundedShare:       0.2,
			MinConnections:     40,
			MinConnectionsFast: 200,
			Evenness:           0.4,
			GivenBack:          0.05,
			KeepFor:            Duration(15 * time.Second),
			ProofAfter:         Duration(7 * time.Second),
			EarlyChurn:         20,
			CriticalWithin:     Duration(10 * time.Minute),
			VanishedPorts:      16,
			VanishedFactor:     4,
			RestLinux:          Duration(time.Minute),
			RestWindows:        Duration(4 * time.Minute),
		},
		Exhaustion: ExhaustionSettings{
			WarnShare:   0.85,
			ClearShare:  0.75,
			FullShare:   0.98,
			MinPorts:    16,
			FailuresFor: Duration(10 * time.Second),
		},
		Counters: CounterSettings{MinSamples: 30, BusyShare: 0.25, RobustZ: 6, Significance: 0.01, MaxSamples: 20000},
	}
}

// Field is one setting: a flag value and a key of the settings file. It
// implements the Value interfaces of packages flag and pflag.
type Field struct {
	// Name is the key, "table.key"; Doc what it sets; Reason where the default comes from.
	Name, Doc, Reason string
	value             any
}

// String returns the present value as text.
func (f Field) String() string {
	switch v := f.value.(type) {
	case *float64:
		return strconv.FormatFloat(*v, 'g', 4, 64)
	case *uint64:
		return strconv.FormatUint(*v, 10)
	case *Duration:
		return v.Std().String()
	}
	return ""
}

// Type names the kind of value: "float", "uint" or "duration".
func (f Field) Type() string {
	switch f.value.(type) {
	case *float64:
		return "float"
	case *uint64:
		return "uint"
	}
	return "duration"
}

// Set parses text into the setting.
func (f Field) Set(text string) error {
	var err error
	switch v := f.value.(type) {
	case *float64:
		*v, err = strconv.ParseFloat(text, 64)
	case *uint64:
		*v, err = strconv.ParseUint(text, 10, 64)
	case *Duration:
		err = v.UnmarshalText([]byte(text))
	}
	if err != nil {
		return fmt.Errorf("setting %s: %w", f.Name, err)
	}
	return f.check()
}

// check refuses values that no detector can work with.
func (f Field) check() error {
	bad := false
	switch v := f.value.(type) {
	case *float64:
		bad = !(*v > 0)
	case *uint64:
		bad = *v == 0
	case *Duration:
		bad = *v <= 0
	}
	if bad {
		return fmt.Errorf("setting %s: %s is not above zero", f.Name, f)
	}
	return nil
}

// Validate reports the first setting that no detector can work with.
func (s *Settings) Validate() error {
	for _, f := range s.Fields() {
		if err := f.check(); err != nil {
			return err
		}
	}
	if w := s.Lifecycle.Window.Std(); w < time.Second || w > fold.MaxWindow*time.Second {
		return fmt.Errorf("setting lifecycle.window: %v is not between 1s and %ds", w, fold.MaxWindow)
	}
	return nil
}
