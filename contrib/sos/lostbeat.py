# Plugin of sos (sos report): what lostbeat has found on this host, and its
# newest recordings. It is copied to sos/report/plugins in Python's folder:
#
#   install -m 644 contrib/sos/lostbeat.py \
#       "$(python3 -c 'import sos.report.plugins as p; print(p.__path__[0])')"
#   sos report -o lostbeat
#
# SPDX-License-Identifier: Apache-2.0

from sos.report.plugins import (Plugin, DebianPlugin, RedHatPlugin,
                                SuSEPlugin, UbuntuPlugin)


class Lostbeat(Plugin, DebianPlugin, RedHatPlugin, SuSEPlugin, UbuntuPlugin):

    short_desc = 'Late heartbeats, lost packets and missing ports'

    plugin_name = 'lostbeat'
    profiles = ('network', 'cluster', 'performance')

    packages = ('lostbeat',)
    services = ('lostbeat',)
    commands = ('lostbeat',)

    recordings = '/var/lib/lostbeat'

    def setup(self):
        self.add_copy_spec([
            '/etc/lostbeat.toml',
            '/etc/systemd/system/lostbeat.service.d/*.conf',
        ])
        # The newest recordings, and what the recorder holds now.
        self.add_copy_spec(self.recordings + '/*.lostbeat', sizelimit=50)
        self.add_copy_spec(self.recordings + '/fault.ring', sizelimit=50)
        self.add_cmd_output([
            'lostbeat version',
            'lostbeat doctor',
            'lostbeat config',
        ])
        self.add_cmd_output(
            "sh -c 'lostbeat findings " + self.recordings +
            "/*.lostbeat " + self.recordings + "/fault.ring'",
            suggest_filename='lostbeat_findings')
