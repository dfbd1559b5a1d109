package fold

import (
	"lostbeat/model"
	"lostbeat/model/state"
)

// restEnd is when a resting port can be used again.
type restEnd struct {
	at  model.Time
	key state.PortKey
}

// restQueue is a heap of rest ends, soonest first.
type restQueue []restEnd

func (q *restQueue) push(r restEnd) {
	*q = append(*q, r)
	for i := len(*q) - 1; i > 0; {
		parent := (i - 1) / 2
		if (*q)[parent].at <= (*q)[i].at {
			break
		}
		(*q)[parent], (*q)[i] = (*q)[i], (*q)[parent]
		i = parent
	}
}

func (q *restQueue) pop() restEnd {
	old := *q
	top := old[0]
	n := len(old) - 1
	old[0] = old[n]
	*q = old[:n]
	for i := 0; ; {
		child := 2*i + 1
		if child >= n {
			return top
		}
		if child+1 < n && (*q)[child+1].at < (*q)[child].at {
			child++
		}
		if (*q)[i].at <= (*q)[child].at {
			return top
		}
		(*q)[i], (*q)[child] = (*q)[child], (*q)[i]
		i = child
	}
}
