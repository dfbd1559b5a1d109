// Package lab makes faults happen for real, in network namespaces and processes
// of its own, and checks what lostbeat says about them: the verdict that must
// come, and those that must not.
//
// A scenario names its expectations beside its recipe, so that a change in a
// detector shows at once which fault is no longer found, or which healthy host
// is now blamed. Each fault is judged while it lasts, just after, and once its
// processes have exited: the claim of a finding must be the same in all three.
//
// Advice is tried: where a scenario has an Advice, the lab does what the finding
// advises while the fault goes on, as an operator would, and the findings must then
// report its end. The words of what is done must be in the advice, so that neither
// changes without the other. The product itself changes no setting of a host.
//
// Namespaces are called lb-lab-PID-*, devices inside them
// lbaPID and lbbPID; the processes are re-executions of the running binary with a hidden
// first argument (see Child). Everything is undone at the end, also when the
// run is cancelled; what a killed run has left behind is removed by the next.
package lab
