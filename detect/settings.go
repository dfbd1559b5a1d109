package detect

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"lostbeat/fold"
)

// Duration is a time.Duration that is a setting.
type Duration time.Duration

// Std returns d as a standard library duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Table is the settings of one detector: a pointer to a struct.
type Table interface {
	// Fields lists the settings, each with its default, its meaning and the reason for the default.
	Fields() []Field
}

// Definition describes one detector: its settings, its section of the
// documentation, and how it is made. See [Define].
type Definition struct {
	// Table is the name of its settings: "starvation" in starvation.late_wait.
	Table string
	// Doc is its section of docs/DETECTORS.md, without the table of settings.
	Doc string

	settings func() Table
	make     func(t Table, l Lifecycle) Detector
	limits   func(t Table, l *fold.Limits)
}

// Define describes a detector whose settings are an S. limits, which may be
// nil, hands to the fold what the detector's settings say of its facts.
func Define[S any, T interface {
	*S
	Table
}](table, doc string, make func(s S, l Lifecycle) Detector, limits func(s S, l *fold.Limits)) Definition {
	return Definition{
		Table:    table,
		Doc:      doc,
		settings: func() Table { return T(new(S)) },
		make:     func(t Table, l Lifecycle) Detector { return make(*t.(T), l) },
		limits: func(t Table, l *fold.Limits) {
			if limits != nil {
				limits(*t.(T), l)
			}
		},
	}
}

// Settings are the thresholds of a set of detectors. Copies share the tables:
// see Clone.
type Settings struct {
	// Lifecycle says how findings open, update and close.
	Lifecycle *Lifecycle

	definitions []Definition
	tables      []Table
}

// NewSettings returns the default settings of the given detectors.
func NewSettings(definitions ...Definition) Settings {
	s := Settings{Lifecycle: &Lifecycle{}, definitions: definitions}
	for _, d := range definitions {
		s.tables = append(s.tables, d.settings())
	}
	for _, f := range s.Fields() {
		if err := f.Set(f.Default); err != nil {
			panic(fmt.Sprintf("default of %s: %v", f.Name, err)) // a fault of the table, which a test of each detector finds
		}
	}
	return s
}

// IsDefault reports whether every setting has its default.
func (s Settings) IsDefault() bool {
	defaults := NewSettings(s.definitions...).Fields()
	for i, f := range s.Fields() {
		if !reflect.DeepEqual(f.Value, defaults[i].Value) {
			return false
		}
	}
	return true
}

// Clone returns a copy that shares nothing with s.
func (s Settings) Clone() Settings {
	c := NewSettings(s.definitions...)
	values := s.Fields()
	for i, f := range c.Fields() {
		reflect.ValueOf(f.Value).Elem().Set(reflect.ValueOf(values[i].Value).Elem())
	}
	return c
}

// Of returns the settings of the detector whose table has the given name, nil for none.
func (s Settings) Of(table string) Table {
	for i, d := range s.definitions {
		if d.Table == table {
			return s.tables[i]
		}
	}
	return nil
}

// Definitions returns the detectors in their order.
func (s Settings) Definitions() []Definition { return s.definitions }

// Field is one setting: a flag value and a key of the settings file. It
// implements the Value interfaces of packages flag and pflag.
type Field struct {
	// Name is "table.key"; it is filled in by Settings.Fields.
	Name string
	// Key is the key within its table.
	Key string
	// Default is the default as text.
	Default string
	// Doc says what it sets, Reason where the default comes from.
	Doc, Reason string
	// Value points to the setting: a *float64, *uint64 or *Duration.
	Value any
}

// Fields lists every setting, for flags and for the documentation. Setting a
// field changes s.
func (s Settings) Fields() []Field {
	var out []Field
	add := func(table string, t Table) {
		for _, f := range t.Fields() {
			f.Name = table + "." + f.Key
			out = append(out, f)
		}
	}
	add("lifecycle", s.Lifecycle)
	for i, t := range s.tables {
		add(s.definitions[i].Table, t)
	}
	return out
}

// String returns the present value as text.
func (f Field) String() string {
	switch v := f.Value.(type) {
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
	switch f.Value.(type) {
	case *float64:
		return "float"
	case *uint64:
		return "uint"
	}
	return "duration"
}

// Errors of values that a setting cannot have.
var (
	errNumber      = errors.New("not a number such as 0.5")
	errWholeNumber = errors.New("not a whole number such as 100")
	errDuration    = errors.New("not a duration such as 500ms or 10s")
	errNotPositive = errors.New("not above zero")
)

// Set parses text into the setting.
func (f Field) Set(text string) error {
	switch v := f.Value.(type) {
	case *float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return errNumber
		}
		*v = n
	case *uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return errWholeNumber
		}
		*v = n
	case *Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return errDuration
		}
		*v = Duration(d)
	}
	return f.check()
}

// check refuses values that no detector can work with.
func (f Field) check() error {
	bad := false
	switch v := f.Value.(type) {
	case *float64:
		bad = !(*v > 0)
	case *uint64:
		bad = *v == 0
	case *Duration:
		bad = *v <= 0
	}
	if bad {
		return errNotPositive
	}
	return nil
}

// Validate reports the first setting that no detector can work with.
func (s Settings) Validate() error {
	for _, f := range s.Fields() {
		if err := f.check(); err != nil {
			return fmt.Errorf("setting %s: %s is %w", f.Name, f, err)
		}
	}
	if w := s.Lifecycle.Window.Std(); w < time.Second || w > fold.MaxWindow*time.Second {
		return fmt.Errorf("setting lifecycle.window: %v is not between 1s and %ds", w, fold.MaxWindow)
	}
	return nil
}

// limits are what the fold needs of the settings.
func (s Settings) limits() fold.Limits {
	l := fold.Limits{Window: s.Lifecycle.Window.Std()}
	for i, d := range s.definitions {
		d.limits(s.tables[i], &l)
	}
	return l
}

// Lifecycle says how findings open, update and close.
type Lifecycle struct {
	Window       Duration
	UpdateEvery  Duration
	ClearAfter   Duration
	ReopenWithin Duration
}

// Fields lists the settings with their defaults, meanings and reasons.
func (s *Lifecycle) Fields() []Field {
	return []Field{
		{
			Key:     "window",
			Default: "3s",
			Doc:     "span over which rates and shares are judged",
			Reason:  "three 1 s intervals: one noisy interval does not decide",
			Value:   &s.Window,
		},
		{
			Key:     "update_every",
			Default: "5s",
			Doc:     "how often an open finding is emitted again",
			Reason:  "bounded rate",
			Value:   &s.UpdateEvery,
		},
		{
			Key:     "clear_after",
			Default: "10s",
			Doc:     "how long a fault must be absent before its finding closes",
			Reason:  "netdata clears its network alarms with a delay as well",
			Value:   &s.ClearAfter,
		},
		{
			Key:     "reopen_within",
			Default: "1m0s",
			Doc:     "a fault that returns within this time continues its old finding",
			Reason:  "no flapping",
			Value:   &s.ReopenWithin,
		},
	}
}
