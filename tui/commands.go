package tui

import (
	"cmp"
	"strings"
)

// commandsTable is the name of the list of commands.
const commandsTable = "commands"

// commandRow is a command that a reader can look up by its name: a key with what it does.
type commandRow struct {
	binding *binding
	key     string
	keys    string
	does    string
}

// commandRows are the commands that work on the screen under the list.
func (u *ui) commandRows() []commandRow {
	below := *u
	below.prompt = nil
	if u.top().kind == commandsTable {
		below.drills = u.drills[:len(u.drills)-1]
	}
	var out []commandRow
	all := bindings()
	for i := range all {
		b := &all[i]
		if !b.works(&below) || b.keys[0] == ":" {
			continue
		}
		if b.show == pageKeys() {
			for n, p := range u.pages {
				key := digits(n + 1)[n]
				out = append(out, commandRow{b, key, key, "page " + p.name})
			}
			continue
		}
		out = append(out, commandRow{b, b.keys[0], u.keyNames(b), b.help})
	}
	return out
}

// keyNames is how the keys of a binding are written.
func (u *ui) keyNames(b *binding) string {
	keys := cmp.Or(b.show, strings.Join(b.keys, " "))
	if u.theme.ascii {
		keys = strings.NewReplacer("↓ ↑", "Down Up", "← →", "Left Right").Replace(keys)
	}
	return keys
}

func (u *ui) commandGrid() *grid[commandRow] {
	return &grid[commandRow]{
		id:    commandsTable,
		title: "commands: type a part of the name, Enter runs the selected one",
		empty: "none",
		rows:  u.commandRows(),
		sort:  -1,
		ident: func(c commandRow) string { return c.does },
		cols: []column[commandRow]{
			textColumn("command", 30, 1, 0, func(c commandRow) string { return c.does }),
			textColumn("keys", 16, 0, 0, func(c commandRow) string { return c.keys }),
		},
	}
}

func (u *ui) commandBands() []band { return []band{{u.commandGrid()}} }

// askCommand lists what can be done on this screen, and runs what the reader chooses.
func (u *ui) askCommand(string) command {
	u.open(drill{kind: commandsTable})
	s := u.list(commandsTable)
	*s = listState{}
	u.prompt = &prompt{
		label:  "command",
		input:  newInput(""),
		change: func(text string) { s.filter, s.index, s.selected = text, 0, "" },
		cancel: func() { u.back("") },
		move:   (*ui).moveRow,
		done: func(u *ui, _ string) command {
			g := u.commandGrid()
			g.prepare(s)
			u.drills, s.filter = u.drills[:len(u.drills)-1], ""
			if len(g.rows) == 0 {
				return nil
			}
			chosen := g.rows[min(s.index, len(g.rows)-1)]
			return chosen.binding.run(u, chosen.key)
		},
	}
	return nil
}
