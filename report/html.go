package report

import (
	"cmp"
	"strconv"
	"time"

	"lostbeat/internal/plain"
	"lostbeat/internal/words"
	"lostbeat/model"
)

// say is a text with numbers tied to their units, name one as it is. Neither can steer the text around it.
func say(s string) node  { return text(plain.Tie(plain.Text(s))) }
func name(s string) node { return text(plain.Text(s)) }

// The texts of cells: a dash stands where there is nothing.
func dash(s string) node            { return text(cmp.Or(plain.Text(s), none)) }
func count(n uint64) node           { return text(words.Exact(n)) }
func nonzero(n uint64) node         { return text(numberOrNone(n)) }
func duration(d time.Duration) node { return text(spanOrNone(d)) }

// each is a node for each element of a list.
func each[T any](list []T, of func(*T) node) nodes {
	out := make(nodes, len(list))
	for i := range list {
		out[i] = of(&list[i])
	}
	return out
}

// joined are texts with a separator between them.
func joined(list []string, separator string, of func(string) node) (out nodes) {
	for i, s := range list {
		if i > 0 {
			out = append(out, text(separator))
		}
		out = append(out, of(s))
	}
	return out
}

// items are the items of a list.
func items(list []string) nodes {
	return each(list, func(s *string) node { return el("li", say(*s)) })
}

// texts and numbers head columns of a table.
func texts(names ...string) nodes {
	return each(names, func(s *string) node { return el("th", attr("scope", "col"), text(*s)) })
}

func numbers(names ...string) nodes {
	return each(names, func(s *string) node { return el("th", attr("scope", "col"), attr("class", "n"), text(*s)) })
}

// The cells of a table: what a row is about, a number, a text that may be long.
func subject(n node) node     { return el("th", attr("scope", "row"), n) }
func number(n node) node      { return el("td", attr("class", "n"), n) }
func longText(n ...node) node { return el("td", attr("class", "text"), nodes(n)) }

// table is a table that scrolls by itself where the page is too narrow for it.
func table(label string, caption, head, body nodes) node {
	return el("div", attr("class", "scroll"), attr("tabindex", "0"), attr("role", "region"), attr("aria-label", label),
		el("table", el("caption", caption), el("thead", el("tr", head)), el("tbody", body)))
}

// more is the end of a caption, which says that a table or a figure has not all.
func more(before string, n int, after string) node {
	return only(n > 0, text(before+strconv.Itoa(n)+after))
}

// figure is a group of lines.
func figure(label string, lines ...node) node { return figureOf("figure", label, lines...) }

func figureOf(class, label string, lines ...node) node {
	return el("div", attr("class", class), attr("role", "group"), attr("aria-label", label), nodes(lines))
}

// line is a line of a figure: a name, a picture and a value.
func line(name, plot, value node) node {
	return el("div", attr("class", "row"), el("span", attr("class", "name"), name), el("div", attr("class", "cell"), plot),
		el("span", attr("class", "value"), value))
}

// noted is a line with the note below its name.
func noted(r *row) node {
	return line(nodes{say(r.Name), el("small", say(r.Note))}, r.Plot, say(r.Value))
}

// unnamed is a line of a figure that is only for the eye.
func unnamed(class string, plot, value node) node {
	return el("div", attr("class", class), attr("aria-hidden", "true"), el("span", attr("class", "name")),
		el("div", attr("class", "cell"), plot), el("span", attr("class", "value"), value))
}

// heading says what the values of a figure are.
func heading(value string) node {
	return unnamed("row head", nil, text(value))
}

// sign is a mark for the eye; what it means is in the text beside it.
func sign(s string) node { return el("span", attr("aria-hidden", "true"), text(s)) }

func caption(n ...node) node { return el("p", attr("class", "caption"), nodes(n)) }

// axis is the line of a figure with the marks of time.
func (p *page) axis() node {
	return only(p.Axis != "", unnamed("row axisrow", p.Axis, nil))
}

// section is a section of the page, nil if the page does not have it.
func (p *page) section(id string, content ...node) node {
	for _, s := range p.Sections {
		if s.ID == id {
			title := id + "-title"
			return el("section", attr("id", id), attr("aria-labelledby", title),
				el("h2", attr("id", title), text(s.Title)), nodes(content))
		}
	}
	return nil
}

// hosts are those hosts of which there is something to show, each below its name if there are several.
func (p *page) hosts(has func(c *host) bool, content func(c *host) nodes) nodes {
	return each(p.Hosts, func(c *host) node {
		if !has(c) {
			return nil
		}
		return nodes{only(p.Many(), el("h3", say(c.Name))), content(c)}
	})
}

// html is the whole page, with what the script draws, in JSON.
func (p *page) html(data []byte) node {
	title := p.Whole
	if p.Lead != nil {
		title = p.Lead.Title
	}
	return nodes{markup("<!doctype html>"), el("html", attr("lang", "en"),
		el("head",
			el("meta", attr("charset", "utf-8")),
			p.Policy,
			el("meta", attr("name", "viewport"), attr("content", "width=device-width, initial-scale=1")),
			el("meta", attr("name", "color-scheme"), attr("content", "light dark")),
			el("meta", attr("name", "referrer"), attr("content", "no-referrer")),
			el("title", say(title), text(" · lostbeat report")),
			el("style", p.Style),
		),
		el("body",
			el("a", attr("class", "skip"), attr("href", "#verdict"), text("Skip to the verdict")),
			p.top(),
			el("main",
				p.verdict(),
				el("nav", attr("aria-label", "Contents"), el("ul", each(p.Sections, func(s *section) node {
					return el("li", el("a", attr("href", "#"+s.ID), text(s.Title)))
				}))),
				p.findings(),
				p.timeLine(),
				p.heartbeats(),
				p.cpuTime(),
				p.drops(),
				p.ports(),
				p.counters(),
				p.logs(),
				p.devices(),
				p.method(),
				p.integrity(),
			),
			el("footer", el("p", text("Made by "), name(p.Tool), text(". The page loads nothing and sends nothing."))),
			p.scripts(data),
		),
	)}
}

func (p *page) top() node {
	var links nodes
	for i := range p.Hosts {
		if i > 0 {
			links = append(links, text(" · "))
		}
		links = append(links, el("a", attr("href", "#"+p.Hosts[i].ID), say(p.Hosts[i].Name)))
	}
	return el("header", attr("class", "top"),
		el("p", attr("class", "brand"), text("lostbeat report"), only(p.Redacted, nodes{
			text(" "), el("span", attr("class", "tag"), text("names and addresses are pseudonyms")),
		})),
		el("p", attr("class", "meta"), links),
		el("p", attr("class", "meta"), say(p.Span)),
	)
}

// verdict is the most important finding, or that there is none.
func (p *page) verdict() node {
	content := func(n ...node) node {
		return el("section", attr("id", "verdict"), attr("aria-labelledby", "verdict-title"), nodes(n))
	}
	if v := p.Lead; v != nil {
		return content(
			el("div", attr("class", "card lead "+v.Class), v.badge(),
				el("h1", attr("id", "verdict-title"), say(v.Title)), v.body()),
			el("p", attr("class", "counts"), say(p.Whole), each(p.Hosts, func(c *host) node {
				link := func(what string) node {
					return nodes{text(" · "), el("a", attr("href", "#integrity"), text(what))}
				}
				switch {
				case !c.Complete:
					return link("the input is not complete")
				case c.Lost > 0:
					return link("events were lost")
				}
				return nil
			})),
		)
	}
	class := "good"
	if p.Start == 0 {
		class = "info"
	}
	return content(el("div", attr("class", "card lead "+class), el("h1", attr("id", "verdict-title"), say(p.Whole)),
		each(p.Hosts, func(c *host) node {
			return el("p",
				only(p.Many(), nodes{el("strong", say(c.Name)), text(" ")}),
				listed("Watched: ", c.On, ", ", name),
				listed(" In part: ", c.Part, ", ", name),
				only(len(c.On)+len(c.Part) == 0, text("The file does not say what was watched.")),
				listed(" Not judged, because it is not in the file: ", c.Unjudged, "; ", say),
			)
		})))
}

// listed is a sentence that ends in a list, nil if there is nothing to list.
func listed(before string, list []string, separator string, of func(string) node) node {
	if len(list) == 0 {
		return nil
	}
	return nodes{text(before), joined(list, separator, of), text(".")}
}

func (v *verdict) badge() node {
	return el("p", attr("class", "badge"), sign(v.Mark), text(" "+v.Severity.String()+" "),
		el("span", attr("class", "quiet"), name(v.Detector)))
}

// body is what a card says of a finding below its title.
func (v *verdict) body() node {
	reason := func(is bool, title string, say ...node) node {
		return only(is, el("div", el("dt", text(title)), el("dd", say...)))
	}
	causes := words.Reasons(&v.Finding.Finding)
	why := el("ol", items(causes))
	if len(causes) == 1 {
		why = say(causes[0])
	}
	return el("div", attr("class", "body"),
		el("dl", attr("class", "reasons"),
			reason(true, "When", say(v.When)),
			reason(len(causes) > 0, "Why", why),
			reason(v.Whose != "", "Whose", say(v.Whose)),
			reason(len(v.Advice) > 0, "What to do", el("ul", items(v.Advice))),
			reason(len(v.RuledOut) > 0, "Ruled out", el("ul", items(v.RuledOut))),
			reason(v.Loss > 0, "Loss", count(v.Loss),
				text(" events were lost during this finding: the numbers are lower bounds")),
		),
		only(len(v.Numbers) > 0, el("table", attr("class", "evidence"), el("caption", text("Evidence")),
			el("tbody", each(v.Numbers, func(f *Fact) node { return el("tr", subject(say(f.Name)), number(say(f.Value))) })))),
	)
}

func (p *page) findings() node {
	return p.section("findings",
		each(p.Others, func(of **verdict) node {
			v := *of
			title := v.ID + "-title"
			return el("article", attr("class", "card "+v.Class), attr("id", v.ID), attr("aria-labelledby", title), v.badge(),
				el("h3", attr("id", title), say(v.Title)), v.body())
		}),
		only(len(p.Titles) > 0, nodes{
			el("h3", textf("And %d more", len(p.Titles))),
			el("ul", attr("class", "plain"), each(p.Titles, func(of **verdict) node {
				v := *of
				return el("li", attr("id", v.ID), text(v.Mark+" "+v.Severity.String()+", "+v.When+": "), say(v.Title))
			})),
		}),
	)
}

func (p *page) timeLine() node {
	line := func(v *verdict, to string) node {
		return el("div", attr("class", "row"),
			el("a", attr("class", "name"), attr("href", "#"+to), sign(v.Mark), text(" "), name(v.Detector),
				el("small", say(v.Whose))),
			el("div", attr("class", "cell"), v.Bar), el("span", attr("class", "value"), dash(v.Length)))
	}
	lead := caption(text("No finding."))
	if p.Lead != nil {
		lead = line(p.Lead, "verdict")
	}
	return p.section("time",
		caption(text("Times are "+p.Zone+". Every value below is the highest second of its column; hatched is what "+
			"was not measured.")),
		figure("Findings over time", lead,
			each(p.Others, func(of **verdict) node { return line(*of, (*of).ID) }), p.axis()),
		zoomFigure(),
	)
}

// zoomFigure is where the script draws.
func zoomFigure() node {
	button := func(do, what string) node {
		return el("button", attr("type", "button"), attr("data-do", do), text(what))
	}
	return el("figure", attr("id", "zoom"), attr("class", "zoom"), attr("hidden", ""),
		el("figcaption", text("Zoom: drag over the picture, or use the buttons; a double click shows all again.")),
		el("div", attr("class", "tools"),
			el("label", text("Show "), el("select", attr("id", "zoom-what"))),
			el("span", attr("class", "buttons"), button("in", "Zoom in"), button("out", "Zoom out"), button("left", "Earlier"),
				button("right", "Later"), button("all", "All"))),
		el("div", attr("id", "zoom-plot"), attr("tabindex", "0"), attr("role", "application"),
			attr("aria-label", "Time line: + and - zoom, arrow keys move, 0 shows all")),
		el("p", attr("id", "zoom-says"), attr("class", "caption"), attr("aria-live", "polite")),
	)
}

func (p *page) heartbeats() node {
	return p.section("heartbeats", p.hosts(func(c *host) bool { return len(c.Flows) > 0 }, func(c *host) nodes {
		return nodes{
			each(c.Falls, func(f *fall) node {
				return figure("Waterfall of a late heartbeat", el("h4", say(f.Title)), caption(say(f.Sub)),
					each(f.Rows, func(r *row) node {
						return line(say(r.Name), r.Plot, nodes{say(r.Value), el("small", say(r.Note))})
					}),
					only(len(f.Notes) > 0, caption(joined(f.Notes, " · ", say))))
			}),
			only(len(c.Silences) > 0, figure("Longest silences of followed flows over time",
				el("h4", text("Longest time without a packet")), each(c.Silences, noted), p.axis())),
			table("Followed flows",
				nodes{text("Followed flows"), more("; ", c.FlowsMore, " more are not listed")},
				nodes{
					texts("flow", "process"), numbers("period", "timeout", "longest silence", "packets", "read", "late", "lost"),
				},
				each(c.Flows, func(f *Flow) node {
					return el("tr", subject(say(f.Name)), el("td", say(f.Process)), number(duration(f.Period)),
						number(duration(f.Timeout)), number(duration(f.Longest)), number(nonzero(f.Packets)),
						number(nonzero(f.Reads)), number(count(f.Late)), number(count(f.Lost)))
				})),
		}
	}))
}

func (p *page) cpuTime() node {
	var legend nodes
	key := func(class, what string) {
		legend = append(legend, el("li", el("span", attr("class", "key "+class), attr("aria-hidden", "true")), text(what)))
	}
	for i, what := range p.Legend {
		key("k"+strconv.Itoa(i), what)
	}
	key("hatched", "not measured")
	return p.section("cpu",
		caption(text("Share of each CPU's time, by softirq vector, driver or interrupt line.")),
		el("ul", attr("class", "legend"), attr("aria-label", "Shades"), legend),
		p.hosts(func(c *host) bool { return len(c.Heat) > 0 }, func(c *host) nodes {
			return nodes{
				figureOf("figure dense", "Heat map of CPU time", heading("highest"), each(c.Heat, noted), p.axis()),
				only(c.WorkMore > 0,
					caption(more("", c.WorkMore, " more kinds of work, all with less time in total, are not shown."))),
				only(len(c.Work) > 0, table("Deferred work and interrupts",
					nodes{text("Deferred work and interrupts in the whole time")},
					nodes{texts("CPU and name", "class"), numbers("CPU time", "longest wait", "longest run")},
					each(c.Work, func(w *Work) node {
						return el("tr", subject(say(w.Share.Name)), el("td", name(w.Class)), number(duration(w.Busy)),
							number(duration(w.LongestWait)), number(duration(w.LongestRun)))
					}))),
			}
		}))
}

func (p *page) drops() node {
	return p.section("drops", p.hosts((*host).hasDrops, func(c *host) nodes {
		if len(c.Places) == 0 {
			return nodes{el("p", text("No packet was lost where it was watched."))}
		}
		return nodes{
			figure("Packets lost by place over time", heading("packets"), each(c.Places, noted), p.axis()),
			table("Packets lost by place and reason",
				nodes{
					text("By place, reason and socket"), more("; ", c.DropsMore, " more rows with fewer packets are not listed"),
				},
				nodes{texts("place", "reason", "device", "socket", "process", "function"), numbers("packets")},
				each(c.Drops, func(d *Drop) node {
					return el("tr", subject(name(d.Place)), el("td", dash(d.Reason)), el("td", dash(d.Device)),
						el("td", dash(d.Socket)), el("td", dash(d.Process)), el("td", dash(d.Location)), number(count(d.Packets)))
				})),
		}
	}))
}

func (p *page) ports() node {
	return p.section("ports", p.hosts(func(c *host) bool { return len(c.PoolRows) > 0 }, func(c *host) nodes {
		return nodes{
			figure("Ports taken of each pool over time", heading("highest"), each(c.PoolRows, noted), p.axis()),
			caption(text("Full height is the whole pool; ports in TIME_WAIT count as taken."),
				more(" ", c.PoolsMore, " more pools, all less full, are not shown.")),
			only(len(c.Holders) > 0, el("table", el("caption", text("Most ports held at the end")),
				el("thead", el("tr", texts("process"), numbers("ports"))),
				el("tbody", each(c.Holders, func(o *Holder) node {
					return el("tr", subject(say(o.Process)), number(text(strconv.Itoa(o.Ports))))
				})))),
		}
	}))
}

func (p *page) counters() node {
	return p.section("counters",
		caption(text("Those that report losses or interrupt work. Full height is the highest value of each.")),
		p.hosts(func(c *host) bool { return len(c.Numbers) > 0 }, func(c *host) nodes {
			return nodes{
				figure("Counters over time", heading("highest"), each(c.Numbers, func(r *row) node {
					return line(say(r.Name), r.Plot, nodes{say(r.Value), el("small", say(r.Unit))})
				}), p.axis()),
				only(c.CountersMore > 0, caption(more("", c.CountersMore, " more are not shown."))),
			}
		}))
}

func (p *page) logs() node {
	return p.section("logs", each(p.Hosts, func(c *host) node {
		if len(c.LineRows) == 0 {
			return nil
		}
		return table("Log lines",
			nodes{say(c.Name), more("; ", c.LinesMore, " more lines and silences are not listed")},
			texts("time", "log", "reports", "text"),
			each(c.LineRows, func(l *lineRow) node {
				return el("tr", el("td", attr("class", "t"), text(l.When)),
					el("td", only(l.Host != "", nodes{name(l.Host), text(": ")}), dash(l.Log)), el("td", name(l.What)),
					longText(name(l.Text)))
			}))
	}))
}

func (p *page) devices() node {
	fact := func(title string, value node) node { return el("div", el("dt", say(title)), el("dd", value)) }
	moment := func(t model.Time) node { return text(momentOrNone(t, p.location)) }
	return p.section("hosts", each(p.Hosts, func(c *host) node {
		return nodes{
			el("h3", attr("id", c.ID), say(c.Name)),
			el("dl", attr("class", "facts"),
				each(c.Facts, func(f *Fact) node { return fact(f.Name, say(f.Value)) }),
				fact("first event", moment(c.Start)), fact("last event", moment(c.End))),
			only(len(c.Devices) > 0, table("Network devices", nodes{text("Network devices")},
				nodes{texts("device", "netns", "driver"), numbers("rx queues", "tx queues", "rx ring", "most")},
				each(c.Devices, func(d *Device) node {
					return el("tr", subject(name(d.Name)), el("td", dash(d.Netns)), el("td", dash(d.Driver)),
						number(nonzero(d.RXQueue)), number(nonzero(d.TXQueue)), number(nonzero(d.RXRing)), number(nonzero(d.RingMax)))
				}))),
		}
	}))
}

func (p *page) method() node {
	sentence := func(before string, list []string, separator string, of func(string) node) node {
		return only(len(list) > 0, el("p", listed(before, list, separator, of)))
	}
	return p.section("method",
		el("p", text("The verdicts are those of "), name(p.Tool), text(" and follow from the events in the input alone: "),
			el("code", text("lostbeat findings")), text(" over the same input gives the same ones. Nothing was measured "+
				"while this page was made. What each detector looks for, and its thresholds: "),
			el("code", text("lostbeat explain")), text(".")),
		p.hosts(func(*host) bool { return true }, func(c *host) nodes {
			return nodes{
				sentence("Watched: ", c.On, ", ", name),
				only(len(c.Off) > 0, table("What was not seen", nodes{text("Not seen, or only in part")},
					texts("probe", "state", "why", "what would help"),
					each(c.Off, func(p *Probe) node {
						return el("tr", subject(name(p.Name)), el("td", name(p.State)), longText(say(p.Reason)), longText(dash(p.Hint)))
					}))),
				sentence("Not judged, because it is not in the file: ", c.Unjudged, "; ", say),
				sentence("No pictures of what the file does not have: ", c.Missing, ", ", name),
				only(len(c.Notes) > 0, el("ul", attr("class", "plain"), items(c.Notes))),
			}
		}))
}

func (p *page) integrity() node {
	return p.section("integrity",
		table("Loss and integrity", nodes{text("What of the input could be read, and what it lacks")},
			nodes{texts("input"), numbers("events", "lost"), texts("integrity")},
			nodes{each(p.Hosts, (*host).readable), each(p.Bundles, (*Bundle).readable)}),
		each(p.Hosts, func(c *host) node {
			var lost node
			if r := c.LossRow; r != nil {
				lost = figure("Lost events over time",
					line(nodes{say(r.Name), el("small", say(c.Name))}, r.Plot, say(r.Value)), p.axis())
			}
			return nodes{
				lost,
				only(len(c.Losses) > 0, el("ul", attr("class", "plain"), each(c.Losses, func(l *Loss) node {
					return el("li", count(l.Lost), text(" events lost: "), name(l.Origin),
						only(l.Detail != "", nodes{text(", "), say(l.Detail)}))
				}))),
				only(len(c.LeftOut) > 0, el("ul", attr("class", "plain"), each(c.LeftOut, func(s *string) node {
					return el("li", text("left out "), say(*s))
				}))),
			}
		}))
}

// readable is the row of a table that says what of a capture could be read.
func (c *host) readable() node {
	state := longText(sign("✔"), text(" "), say(cmp.Or(c.Integrity, "complete")))
	if !c.Complete {
		state = longText(el("strong", sign("▲"), text(" "), say(c.Integrity)))
	}
	return el("tr", subject(say(c.File)), number(count(c.Events)), number(count(c.Lost)), state)
}

// readable is the row of a table that says what of an archive was read.
func (b *Bundle) readable() node {
	return el("tr", subject(name(b.File)), number(text(none)), number(text(none)),
		longText(textf("archive of %d files, %d of which were read", b.Members, len(b.Opened)),
			each(b.Damage, func(s *string) node { return nodes{text("; "), el("strong", say(*s))} })))
}

// scripts are the script and what it draws: JSON with <, > and & escaped, which can end no element.
func (p *page) scripts(data []byte) node {
	return only(len(p.Zoom.Groups) > 0, nodes{
		el("script", attr("type", "application/json"), attr("id", "data"), markup(data)),
		el("script", p.Script),
	})
}
