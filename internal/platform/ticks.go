package platform

// TicksPerSecond is the unit of times in /proc (USER_HZ), the same on every
// architecture that lostbeat runs on.
const TicksPerSecond = 100
