package tui

import (
	"fmt"
	"strings"

	"lostbeat/model"
)

// proposalsName is the name of the table of flows that are proposed.
const proposalsName = "proposals"

// proposalGrid lists flows that look like heartbeats and are not followed.
func (u *ui) proposalGrid(v *view) *grid[*model.Flow] {
	rows := make([]*model.Flow, len(v.snap.Proposals))
	for i := range rows {
		rows[i] = &v.snap.Proposals[i]
	}
	title := "not followed, but looks like a heartbeat"
	if u.opt.Follow != nil {
		title += " (f: follow it)"
	}
	return &grid[*model.Flow]{
		id:    proposalsName,
		title: title,
		rows:  rows,
		sort:  2,
		desc:  true,
		enter: func(f *model.Flow) command {
			if u.opt.Follow == nil {
				return nil
			}
			return u.followFlow(f.Name())
		},
		ident: func(f *model.Flow) string { return fmt.Sprintf("%x/%x", f.NetnsInode, f.Cookie) },
		find: func(f *model.Flow) string {
			return socketName(f.Protocol, f.ServicePort()) + " " + processName(f.Process, f.PID) + " " + proposedFor(f)
		},
		cols: []column[*model.Flow]{
			textColumn("flow", 12, 0, 0, func(f *model.Flow) string { return socketName(f.Protocol, f.ServicePort()) }),
			textColumn("owner", 14, 1, 0, func(f *model.Flow) string { return processName(f.Process, f.PID) }),
			numberColumn("a packet every", 14, 1, func(f *model.Flow) float64 { return float64(f.Period) },
				func(n float64) string {
					if n == 0 {
						return none
					}
					return formatNanos(n)
				}),
			textColumn("why", 20, 2, 2, proposedFor),
		},
	}
}

// proposedFor says why a flow is proposed.
func proposedFor(f *model.Flow) string {
	var why []string
	if f.Period > 0 {
		why = append(why, "regular")
	}
	if f.KnownAs != "" {
		why = append(why, "port of "+f.KnownAs)
	}
	return strings.Join(why, ", ")
}

// proposed is the flow that f follows: the selected one of those that are proposed, nil for none.
func (u *ui) proposed() *model.Flow {
	if u.screen() != heartbeatsName || len(u.look.snap.Proposals) == 0 {
		return nil
	}
	g := u.proposalGrid(&u.look)
	l, s := g.table(u), u.list(proposalsName)
	if l.rows == 0 {
		return nil // the filter leaves none
	}
	s.follow(l.rows, l.id)
	return g.rows[s.index]
}

// followProposed follows the flow that is proposed.
func (u *ui) followProposed(string) command { return u.followFlow(u.proposed().Name()) }

// askFlow follows a flow that the reader names.
func (u *ui) askFlow(string) command {
	u.prompt = &prompt{label: "follow (udp:5405, tcp:10.0.0.2:2380, corosync, auto)", input: newInput("")}
	u.prompt.done = func(u *ui, text string) command {
		if text = strings.TrimSpace(text); text == "" {
			return nil
		}
		return u.followFlow(text)
	}
	return nil
}

func (u *ui) followFlow(flow string) command {
	if err := u.opt.Follow(flow); err != nil {
		u.say(err.Error(), true)
		return nil
	}
	u.say("following "+flow, false)
	return nil
}
