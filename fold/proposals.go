package fold

import (
	"cmp"
	"maps"
	"slices"

	"lostbeat/model"
)

// maxProposals bounds the flows that are proposed.
const maxProposals = 256

// applyProposal takes up that a socket looks like a heartbeat and is not followed; every other state of it ends that.
// It says whether nothing else is to be learned.
func (w *Fold) applyProposal(v *model.Flow) (done bool) {
	k := FollowKey{v.NetnsInode, v.Cookie}
	_, before := w.offers[k]
	if v.State != model.FlowProposed {
		delete(w.offers, k)
		return before && v.State == model.FlowEnded
	}
	if !before && len(w.offers) >= maxProposals {
		w.room.LeaveOut("proposed flows")
		return true
	}
	w.offers[k] = *v
	return true
}

// proposed returns the flows that are proposed, by port and process.
func (w *Fold) proposed() []model.Flow {
	return slices.SortedFunc(maps.Values(w.offers), func(a, b model.Flow) int {
		return cmp.Or(
			cmp.Compare(a.LocalPort, b.LocalPort), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.PID, b.PID),
			cmp.Compare(a.Cookie, b.Cookie),
		)
	})
}
