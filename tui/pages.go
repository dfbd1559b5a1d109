package tui

// page is one of the screens between which the number keys choose.
type page struct {
	// name is on its tab.
	name string
	// bands are its sections.
	bands func(*ui, *view) []band
	// draw draws it where its sections are not all of it; nil arranges them.
	draw func(u *ui, v *view, w, h int) []string
}

// pages are all pages, in the order of their keys. Each has a file of its own
// and a line here.
func pages() []page {
	return []page{
		{name: overviewName, bands: (*ui).overviewBands, draw: (*ui).overview},
		{name: deferredName, bands: (*ui).deferredBands},
		{name: networkName, bands: (*ui).networkBands},
		{name: portsName, bands: (*ui).portBands},
		{name: heartbeatsName, bands: (*ui).heartbeatBands},
		{name: findingsName, bands: (*ui).findingsBands},
	}
}

// pageNamed returns the number of a page.
func (u *ui) pageNamed(name string) int {
	for i, p := range u.pages {
		if p.name == name {
			return i
		}
	}
	return 0
}
