#!/bin/sh
# Alert agent for Pacemaker: has the lostbeat service keep the minutes around what the cluster has noticed, in a
# recording of their own, even where no detector has found anything.
#
#   install -m 755 contrib/pacemaker/lostbeat-alert.sh /var/lib/pacemaker/lostbeat-alert.sh
#   pcs alert create path=/var/lib/pacemaker/lostbeat-alert.sh id=lostbeat
#   # or: crm configure alert lostbeat /var/lib/pacemaker/lostbeat-alert.sh
#
# Pacemaker runs alert agents as the user hacluster, who may not send signals to services. Allow this one command in
# /etc/sudoers.d/lostbeat (install it with visudo -f):
#
#   hacluster ALL=(root) NOPASSWD: /usr/bin/systemctl kill --kill-whom=main --signal=USR1 lostbeat.service
#
# Kept are: a node that is lost or joins, fencing, and an action of a resource that has failed.
set -u

case "${CRM_alert_kind:-}" in
node | fencing) ;;
resource) [ "${CRM_alert_rc:-0}" != "${CRM_alert_target_rc:-0}" ] || exit 0 ;;
*) exit 0 ;;
esac

set -- systemctl kill --kill-whom=main --signal=USR1 lostbeat.service
[ "$(id -u)" = 0 ] || set -- sudo -n "$@"
if ! "$@"; then
	logger -t lostbeat-alert "could not ask lostbeat to keep ${CRM_alert_kind} ${CRM_alert_node:-}: ${CRM_alert_desc:-}"
	exit 1
fi
