package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lostbeat/internal/lazyregexp"
	"lostbeat/model"
)

// Advice is what a finding of a scenario advises, and what an operator who
// follows it does. The product itself changes no setting of a host: only the lab does.
type Advice struct {
	// Words must all be in one piece of advice of an expected finding, so that
	// text and deed cannot drift apart. "a|b" wants either.
	Words []string
	// Apply does it, while the fault goes on.
	Apply func(ctx context.Context, env *Env) error
	// Allow are detectors that may speak once it is followed: a program that is
	// restarted is away for a moment.
	Allow []string
	// Within is how soon the last loss must have been seen after that; 0 for helpsWithin.
	Within time.Duration
}

const (
	// helpsWithin is how long a loss may go on once advice is followed: the
	// longest window over which detectors add up, and what is under way.
	helpsWithin = 6 * time.Second
	// closesWithin is how long the lab waits until the findings say that the fault has ended.
	closesWithin = 24 * time.Second
)

// follow does what the findings advise, and waits until they report the end of the fault.
func (r *Result) follow(ctx context.Context, o *observer, env *Env) error {
	s := r.Scenario
	advised := s.expected(o.findings(), env)
	for _, word := range s.Advice.Words {
		says := func(f model.Finding) bool {
			return slices.ContainsFunc(f.Advice, func(text string) bool { return saysAny(text, word) })
		}
		if !slices.ContainsFunc(advised, says) {
			r.Unsaid = append(r.Unsaid, fmt.Sprintf("%q, which was done, but %q", word, adviceOf(advised)))
		}
	}
	known := make(map[string]bool)
	for _, f := range o.findings() {
		known[f.ID] = true
	}
	env.advice = adviceOf(advised)
	if err := s.Advice.Apply(ctx, env); err != nil {
		return fmt.Errorf("follow the advice: %w", err)
	}
	applied := model.TimeOf(time.Now())
	open := func() []model.Finding {
		return slices.DeleteFunc(s.expected(o.findings(), env), func(f model.Finding) bool { return !f.Ongoing })
	}
	for end := time.Now().Add(closesWithin); len(open()) > 0 && time.Now().Before(end) && ctx.Err() == nil; {
		wait(ctx, 100*time.Millisecond)
	}
	r.Helped = time.Millisecond // to tell "at once" from "not tried"
	within := s.Advice.Within
	if within == 0 {
		within = helpsWithin
	}
	for _, f := range s.expected(o.findings(), env) {
		took := f.End.Sub(applied)
		r.Helped = max(r.Helped, took)
		switch {
		case f.Ongoing:
			r.Unhelped = append(r.Unhelped, fmt.Sprintf("%v after it, %q goes on", closesWithin, f.Title))
		case took > within:
			r.Unhelped = append(r.Unhelped, fmt.Sprintf("%q went on for %v", f.Title, took.Round(time.Millisecond)))
		case !known[f.ID]:
			r.Unhelped = append(r.Unhelped, fmt.Sprintf("it brought %q", f.Title))
		}
	}
	return nil
}

func adviceOf(found []model.Finding) (list []string) {
	for _, f := range found {
		list = append(list, f.Advice...)
	}
	return list
}

// saysAny says that a text has one of several parts, which "|" separates,
// in capitals or not.
func saysAny(text, parts string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(strings.Split(parts, "|"), func(part string) bool {
		return strings.Contains(text, strings.ToLower(part))
	})
}

// expected are the findings that meet an expectation.
func (s *Scenario) expected(found []model.Finding, env *Env) (list []model.Finding) {
	for _, f := range found {
		meets := func(x Expectation) bool { return x.matches(&f, env) }
		if env.concerns(&f) && slices.ContainsFunc(s.Expect, meets) {
			list = append(list, f)
		}
	}
	return list
}

// compare notes findings that claim another cause than they did: the end of a
// fault, or of a process, changes tense and numbers and nothing else.
func (r *Result) compare(when string, before, now []model.Finding, env *Env) {
	for _, was := range r.Scenario.expected(before, env) {
		for _, is := range now {
			if is.ID == was.ID && claim(&is) != claim(&was) {
				r.Changed = append(r.Changed, fmt.Sprintf("%s: %q was %q", when, is.Title, was.Title))
			}
		}
	}
}

// details follow what a title claims: how much, by when, and what became of it.
var details = lazyregexp.New(
	`(: |; | of pool | in [0-9]| and kept | and (has |did not |does not )?releas).*`)

// numbers are numbers with their units, of which a no-break space is part.
var numbers = lazyregexp.New(`[0-9][0-9,.]*(\x{00a0}|\x{202f})?[\pL%]*`)

// tenses are words that only say whether a fault goes on, each with its past.
var tenses = map[string]string{
	"is": "was", "are": "were", "has": "had", "have": "had", "reads": "read", "drops": "dropped", "listens": "listened",
	"stays": "stayed", "loses": "lost", "holds": "held", "takes": "took", "gets": "got",
	"delays": "delayed", "keeps": "kept", "processes": "process", "packets": "packet", "ports": "port",
	"yields": "yielded", "needs": "needed", "runs": "ran", "delay": "delayed", "waits": "waited",
	"spends": "spent", "hold": "held", "get": "got", "looks": "looked",
}

// claim is what a finding's title says, without numbers and tense.
func claim(f *model.Finding) string {
	return f.Detector + " " + inPast(numbers.ReplaceAllString(details.ReplaceAllString(f.Title, ""), ""))
}

// inPast puts the words of a text that say whether a fault goes on into the past, and one blank between words.
func inPast(text string) string {
	text = strings.NewReplacer("could not", "cannot", "does not", "did not", "do not", "did not",
		"has been received", "received", "has been", "was", "have been", "were").Replace(text)
	words := strings.Fields(text)
	for i, word := range words {
		if past, ok := tenses[word]; ok {
			words[i] = past
		}
	}
	return strings.Join(words, " ")
}

// loads are the roles that make a fault by what they send or take: it ends when they pause.
var loads = []string{"flood", "knock", "scan", "dial", "fill", "leak", "reserved"}

// endLoad ends the fault while its processes live on.
func (e *Env) endLoad() error {
	for _, p := range e.processes {
		if slices.Contains(loads, p.role) && p.alive() {
			if err := p.suspend(); err != nil {
				return err
			}
		}
	}
	return nil
}

// started returns the process of a role that was started last.
func (e *Env) started(role string) (*Process, error) {
	for _, p := range slices.Backward(e.processes) {
		if p.role == role && p.alive() {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no process of the lab is a %s", role)
}

// restart ends the last process of a role and starts another in its place;
// further options count over those that it had.
func (e *Env) restart(ctx context.Context, role, newRole string, args ...string) error {
	p, err := e.started(role)
	if err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}
	if newRole == role {
		args = append(slices.Clone(p.args), args...)
	}
	_, err = e.Start(ctx, p.ns, newRole, args...)
	return err
}
