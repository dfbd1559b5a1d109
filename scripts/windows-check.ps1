<#
.SYNOPSIS
    Checks on a real Windows what lostbeat's tests under Wine cannot show, and packs what it saw into a zip.

.DESCRIPTION
    Takes about five minutes, from an elevated Windows PowerShell 5.1:

        powershell -ExecutionPolicy Bypass -File windows-check.ps1 -Lostbeat .\lostbeat.exe

    It traces this host, sends datagrams to itself, binds ports and kills one lostbeat of its own. It changes no
    setting. Each line begins with pass, fail, note (a value to look at) or skip (not possible here).

    The zip has recordings of this host: names of processes, addresses and ports. Look at it before you send it.
#>
param(
    # The program to check; lostbeat.exe beside this script when left out.
    [string]$Lostbeat = '',
    # Where the zip goes.
    [string]$Out = (Join-Path (Get-Location) ('lostbeat-check-{0:yyyyMMdd-HHmmss}.zip' -f (Get-Date))),
    # How long the main recording takes.
    [int]$Seconds = 60,
    # Also open the screen in this console, and ask whether it looks right.
    [switch]$Screen
)

Set-StrictMode -Version 1
$ErrorActionPreference = 'Stop'
[Console]::OutputEncoding = [System.Text.Encoding]::UTF8

$identity = New-Object Security.Principal.WindowsPrincipal([Security.Principal.WindowsIdentity]::GetCurrent())
if (-not $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    Write-Error 'This needs an elevated prompt: right-click PowerShell, Run as administrator.'
}
if (-not $Lostbeat) { $Lostbeat = Join-Path $PSScriptRoot 'lostbeat.exe' }
if (-not (Test-Path $Lostbeat)) {
    Write-Error "There is no $Lostbeat. Name the program with -Lostbeat."
}
$Lostbeat = (Resolve-Path $Lostbeat).Path
$work = Join-Path $env:TEMP ('lostbeat-check-' + $PID)
$null = New-Item -ItemType Directory -Path $work
$results = New-Object System.Collections.ArrayList

# Write-Result prints one line of the answer and keeps it.
function Write-Result([string]$State, [string]$Claim, [string]$Detail) {
    $line = '{0,-4}  {1}' -f $State, $Claim
    if ($Detail) { $line += ': ' + $Detail }
    $null = $results.Add($line)
    $color = 'Gray'
    if ($State -eq 'pass') { $color = 'Green' }
    if ($State -eq 'fail') { $color = 'Red' }
    Write-Host $line -ForegroundColor $color
}

# Test-Claim writes pass when Condition holds.
function Test-Claim([string]$Claim, [bool]$Condition, [string]$Detail) {
    if ($Condition) { Write-Result 'pass' $Claim $Detail } else { Write-Result 'fail' $Claim $Detail }
}

# Start-Lostbeat starts the program; its output goes to files named after Name.
function Start-Lostbeat([string]$Name, [string[]]$Arguments) {
    $quoted = $Arguments | ForEach-Object { if ($_ -match '\s') { '"' + $_ + '"' } else { $_ } }
    Add-Content -Path (Join-Path $work 'commands.txt') -Value ($Name + ': lostbeat ' + ($quoted -join ' '))
    $process = Start-Process -FilePath $Lostbeat -ArgumentList $quoted -NoNewWindow -PassThru `
        -RedirectStandardOutput (Join-Path $work "$Name.txt") -RedirectStandardError (Join-Path $work "$Name.err.txt")
    $null = $process.Handle # without it, ExitCode stays empty
    return $process
}

# Invoke-Lostbeat runs the program to its end and returns its exit status.
function Invoke-Lostbeat([string]$Name, [string[]]$Arguments) {
    $process = Start-Lostbeat $Name $Arguments
    $process.WaitForExit()
    return $process.ExitCode
}

# Read-Lines returns the objects that a command printed, one JSON object a line.
function Read-Lines([string]$Name) {
    $path = Join-Path $work "$Name.txt"
    return @(Get-Content -Path $path -Encoding UTF8 | Where-Object { $_ } | ForEach-Object { ConvertFrom-Json $_ })
}

# Measure-Sum adds up one field of objects.
function Measure-Sum($Objects, [string]$Field) {
    $sum = 0.0
    foreach ($o in $Objects) { $sum += [double]$o.$Field }
    return $sum
}

# Get-Sessions returns the names of the running trace sessions. logman's words are localised, names are not.
function Get-Sessions {
    return @(logman query -ets | ForEach-Object { ($_ -split '\s{2,}')[0].Trim() } | Where-Object { $_ })
}

# Get-OwnSessions returns the sessions of lostbeat.
function Get-OwnSessions { return @(Get-Sessions | Where-Object { $_ -match '^lostbeat-\d+-' }) }

# Get-DPCTime returns the DPC time of all processors since the start, in seconds. Names of WMI classes are English.
function Get-DPCTime {
    $raw = Get-WmiObject -Class Win32_PerfRawData_PerfOS_Processor | Where-Object { $_.Name -eq '_Total' }
    $cpus = @(Get-WmiObject -Class Win32_PerfRawData_PerfOS_Processor | Where-Object { $_.Name -ne '_Total' }).Count
    return [double]$raw.PercentDPCTime * $cpus / 1e7
}

# Send-Load makes what the recording must have, and returns what it did.
function Send-Load {
    $did = @{ sent = 0; bound = 0; refused = 0; unread = 0; calls = 0 }
    $receiver = New-Object System.Net.Sockets.UdpClient(0)
    $port = ([System.Net.IPEndPoint]$receiver.Client.LocalEndPoint).Port
    $sender = New-Object System.Net.Sockets.UdpClient
    $sender.Connect('127.0.0.1', $port)
    $did.port = $port
    for ($i = 0; $i -lt 1000; $i++) {
        $null = $sender.Send((New-Object byte[] 100), 100)
        $did.sent++
        if ($i % 20 -eq 19) { Start-Sleep -Milliseconds 20 }
    }
    $held = New-Object System.Collections.ArrayList
    for ($i = 0; $i -lt 50; $i++) {
        $null = $held.Add((New-Object System.Net.Sockets.UdpClient(0)))
        $did.bound++
    }
    $taken = ([System.Net.IPEndPoint]$held[0].Client.LocalEndPoint).Port
    for ($i = 0; $i -lt 5; $i++) {
        $socket = New-Object System.Net.Sockets.Socket('InterNetwork', 'Dgram', 'Udp')
        $socket.ExclusiveAddressUse = $true
        try {
            $socket.Bind((New-Object System.Net.IPEndPoint([System.Net.IPAddress]::Any, $taken)))
        } catch { $did.refused++ }
        $socket.Close()
    }
    Start-Sleep -Seconds 2
    foreach ($socket in $held) { $socket.Close() }
    # A receive buffer that is full: nobody reads it.
    $full = New-Object System.Net.Sockets.UdpClient(0)
    $full.Client.ReceiveBufferSize = 4096
    $sender2 = New-Object System.Net.Sockets.UdpClient
    $sender2.Connect('127.0.0.1', ([System.Net.IPEndPoint]$full.Client.LocalEndPoint).Port)
    for ($i = 0; $i -lt 200; $i++) {
        $null = $sender2.Send((New-Object byte[] 1400), 1400)
        $did.unread++
    }
    Start-Sleep -Seconds 1
    foreach ($socket in @($receiver, $sender, $full, $sender2)) { $socket.Close() }
    for ($i = 0; $i -lt 10; $i++) {
        $null = sc.exe query # a remote procedure call to the service control manager
        $did.calls++
    }
    return $did
}

try {
    $os = Get-WmiObject -Class Win32_OperatingSystem
    $build = [int]$os.BuildNumber
    $cpus = [int](Get-WmiObject -Class Win32_ComputerSystem).NumberOfLogicalProcessors
    Write-Result 'note' 'system' ('{0} build {1}, {2}, {3} processors, {4}' -f $os.Caption.Trim(), $build,
        $env:PROCESSOR_ARCHITECTURE, $cpus, (Get-Culture).Name)
    $null = Invoke-Lostbeat 'version' @('version')
    $before = @(Get-Sessions)

    # 1. The sessions start, and every provider accepts its list of events.
    $status = Invoke-Lostbeat 'doctor' @('doctor', '--json')
    $rows = @(Read-Lines 'doctor')
    $sessions = @($rows | Where-Object { $_.name -match '^probe etw/(system|user) session$' -and $_.state -eq 'on' })
    Test-Claim 'both sessions start' ($sessions.Count -eq 2) "doctor ended with $status"
    $refused = @($rows | Where-Object { $_.name -match '^probe etw/' -and $_.state -ne 'on' })
    Test-Claim 'every provider accepts its list of events' ($refused.Count -eq 0) `
        (($refused | ForEach-Object { $_.name + ': ' + $_.detail }) -join '; ')
    Test-Claim 'no session is left by doctor' (@(Get-OwnSessions).Count -eq 0) ((Get-OwnSessions) -join ', ')

    # 2. One recording, while this script makes the events.
    $record = Join-Path $work 'main.lostbeat'
    $dpcBefore = Get-DPCTime
    $recorder = Start-Lostbeat 'record' @('record', '-o', $record, '--duration', "${Seconds}s")
    Start-Sleep -Seconds 5
    $recording = @(Get-OwnSessions)
    $did = Send-Load
    $recorder.WaitForExit()
    $dpcAfter = Get-DPCTime
    Test-Claim 'record runs to its end' ($recorder.ExitCode -eq 0) "status $($recorder.ExitCode)"
    Test-Claim 'two sessions run while it records' ($recording.Count -eq 2) ($recording -join ', ')
    Test-Claim 'they are gone afterwards' (@(Get-OwnSessions).Count -eq 0) ''
    $cpuTime = $recorder.TotalProcessorTime.TotalSeconds
    Write-Result 'note' 'CPU time of lostbeat' ('{0:n2} s in {1} s: {2:n2} % of one processor' -f $cpuTime, $Seconds,
        (100 * $cpuTime / $Seconds))
    $null = Invoke-Lostbeat 'info' @('info', $record)
    $null = Invoke-Lostbeat 'findings' @('findings', $record)

    # 3. The private system logger: DPCs, ISRs, their drivers and their durations.
    $null = Invoke-Lostbeat 'deferred' @('events', $record, '--kind', 'deferred.hist', '--json')
    $dpcs = @(Read-Lines 'deferred')
    $runs = Measure-Sum $dpcs 'count'
    Test-Claim 'the system logger delivers DPCs' ($runs -gt 0) "$runs runs"
    $null = Invoke-Lostbeat 'interrupt' @('events', $record, '--kind', 'interrupt.hist', '--json')
    $isrs = Measure-Sum (Read-Lines 'interrupt') 'count'
    Test-Claim 'the system logger delivers ISRs' ($isrs -gt 0) "$isrs runs"
    $known = Measure-Sum @($dpcs | Where-Object { $_.driver -ne '<unknown>' }) 'count'
    Test-Claim 'the drivers of DPCs are known' ($runs -gt 0 -and $known -ge 0.95 * $runs) "$known of $runs runs"
    $busy = (Measure-Sum $dpcs 'busy_ns') / 1e9
    Test-Claim 'DPC times are of a plausible size' ($runs -gt 0 -and $busy -gt 0 -and $busy -lt $Seconds * $cpus) `
        ('{0:n3} s in {1} s on {2} processors' -f $busy, $Seconds, $cpus)
    $null = Invoke-Lostbeat 'cputime' @('events', $record, '--kind', 'cpu.time', '--json')
    $times = @(Read-Lines 'cputime')
    $counted = (Measure-Sum $times 'softirq_ns') / 1e9
    $windows = $dpcAfter - $dpcBefore
    $seen = @($times | ForEach-Object { $_.cpu } | Sort-Object -Unique).Count
    Test-Claim 'all processors of the group are counted' ($seen -eq [Math]::Min($cpus, 64)) "$seen of $cpus"
    Test-Claim 'DPC times of the counters agree with those of WMI' `
        ([Math]::Abs($counted - $windows) -le 0.1 + 0.3 * $windows) ('{0:n2} and {1:n2} s' -f $counted, $windows)
    Test-Claim 'DPC times of the events agree with the counters' `
        ($busy -le 0.1 + 2 * $counted -and $counted -le 0.1 + 2 * $busy) ('{0:n2} and {1:n2} s' -f $busy, $counted)

    # 4. Providers: each has to show what was done.
    $null = Invoke-Lostbeat 'packet' @('events', $record, '--kind', 'packet', '--json')
    $sent = @(Read-Lines 'packet' | Where-Object {
            $_.pid -eq $PID -and $_.direction -eq 'tx' -and $_.remote_port -eq $did.port })
    $null = Invoke-Lostbeat 'loss' @('events', $record, '--kind', 'loss', '--json')
    $lost = Measure-Sum (Read-Lines 'loss') 'lost'
    Test-Claim 'datagrams that were sent are there, or counted as lost' `
        ($sent.Count + $lost -ge $did.sent -and $sent.Count -le $did.sent) "$($sent.Count) of $($did.sent), lost $lost"
    $null = Invoke-Lostbeat 'acquire' @('events', $record, '--kind', 'port.acquire', '--json')
    $bound = @(Read-Lines 'acquire' | Where-Object { $_.pid -eq $PID }).Count
    Test-Claim 'ports that were bound are there' ($bound -ge $did.bound) "$bound, at least $($did.bound)"
    $null = Invoke-Lostbeat 'release' @('events', $record, '--kind', 'port.release', '--json')
    $closed = @(Read-Lines 'release' | Where-Object { $_.pid -eq $PID }).Count
    Test-Claim 'ports that were closed are there' ($closed -ge $did.bound) "$closed, at least $($did.bound)"
    $null = Invoke-Lostbeat 'fail' @('events', $record, '--kind', 'port.fail', '--json')
    $failed = @(Read-Lines 'fail' | Where-Object { $_.pid -eq $PID }).Count
    Test-Claim 'binds that failed are there' ($failed -ge $did.refused -and $did.refused -gt 0) `
        "$failed of $($did.refused)"
    $null = Invoke-Lostbeat 'drop' @('events', $record, '--kind', 'drop', '--json')
    $drops = @(Read-Lines 'drop')
    Write-Result 'note' 'drops while nobody read a full buffer' `
        ('{0} events, {1} packets of at most {2}' -f $drops.Count, (Measure-Sum $drops 'count'), $did.unread)
    $null = Invoke-Lostbeat 'rpc' @('events', $record, '--kind', 'rpc', '--json')
    $calls = @(Read-Lines 'rpc').Count
    Test-Claim 'remote procedure calls are there' ($calls -ge 1) "$calls events"

    # 5. The dynamic ranges: netsh's words are localised.
    $null = Invoke-Lostbeat 'pool' @('events', $record, '--kind', 'port.pool', '--json')
    $udp = @(Read-Lines 'pool' | Where-Object { $_.protocol -eq 'udp' -and $_.source -eq 'ephemeral' })
    $setting = Get-NetUDPSetting | Select-Object -First 1
    if ($udp.Count -gt 0) {
        Test-Claim 'the dynamic range of UDP is that of Windows' `
            ($udp[0].low -eq $setting.DynamicPortRangeStartPort -and
            $udp[0].high - $udp[0].low + 1 -eq $setting.DynamicPortRangeNumberOfPorts) `
            "$($udp[0].low) to $($udp[0].high), $($udp[0].name)"
    } else {
        Test-Claim 'the dynamic range of UDP is that of Windows' $false 'there is none'
    }
    netsh int ipv4 show dynamicport udp | Set-Content -Path (Join-Path $work 'netsh.txt') -Encoding UTF8

    # 6. A lostbeat that is killed, and the next one.
    $victim = Start-Lostbeat 'killed' @('record', '-o', (Join-Path $work 'killed.lostbeat'), '--duration', '60s')
    Start-Sleep -Seconds 6
    Stop-Process -Id $victim.Id -Force
    Start-Sleep -Seconds 2
    $left = @(Get-OwnSessions)
    Write-Result 'note' 'sessions of a lostbeat that was killed' ($left -join ', ')
    $null = Invoke-Lostbeat 'doctor-after-kill' @('doctor', '--json')
    Test-Claim 'the next lostbeat stops them' (@(Get-OwnSessions).Count -eq 0) ((Get-OwnSessions) -join ', ')
    $status = Invoke-Lostbeat 'killed-info' @('info', (Join-Path $work 'killed.lostbeat'))
    Test-Claim 'the recording of the killed one opens' ($status -eq 0 -or $status -eq 3) "status $status"
    $now = @(Get-Sessions)
    $missing = @($before | Where-Object { $now -notcontains $_ })
    if ($missing.Count -eq 0) {
        Write-Result 'pass' 'sessions of others still run' ''
    } else {
        Write-Result 'note' 'sessions that have ended meanwhile, perhaps by themselves' ($missing -join ', ')
    }

    # 7. Whole buffers.
    $raw = Join-Path $work 'raw.lostbeat'
    $recorder = Start-Lostbeat 'raw' @('record', '-o', $raw, '--duration', '20s', '--raw-buffers')
    Start-Sleep -Seconds 5
    $did = Send-Load
    $recorder.WaitForExit()
    $null = Invoke-Lostbeat 'raw-probe' @('events', $raw, '--kind', 'probe', '--json')
    $single = @(Read-Lines 'raw-probe' | Where-Object { $_.reason -match 'one by one' })
    if ($single.Count -gt 0) {
        Write-Result 'skip' 'whole buffers' $single[0].reason
    } else {
        $null = Invoke-Lostbeat 'raw-deferred' @('events', $raw, '--kind', 'deferred.hist', '--json')
        $runs = Measure-Sum (Read-Lines 'raw-deferred') 'count'
        Test-Claim 'whole buffers have DPCs' ($runs -gt 0) "$runs runs"
        $null = Invoke-Lostbeat 'raw-packet' @('events', $raw, '--kind', 'packet', '--json')
        $sent = @(Read-Lines 'raw-packet' | Where-Object {
                $_.pid -eq $PID -and $_.direction -eq 'tx' -and $_.remote_port -eq $did.port }).Count
        $null = Invoke-Lostbeat 'raw-loss' @('events', $raw, '--kind', 'loss', '--json')
        $lost = Measure-Sum (Read-Lines 'raw-loss') 'lost'
        Test-Claim 'whole buffers have all datagrams, or count them as lost' `
            ($sent + $lost -ge $did.sent -and $sent -le $did.sent) "$sent of $($did.sent), lost $lost"
    }

    # 8. Counters alone.
    $counters = Join-Path $work 'counters.lostbeat'
    $null = Invoke-Lostbeat 'counters' @('record', '-o', $counters, '--duration', '8s', '--probe', 'counters')
    $null = Invoke-Lostbeat 'counters-events' @('events', $counters, '--kind', 'cpu.time,device.stats', '--json')
    $kinds = @(Read-Lines 'counters-events' | ForEach-Object { $_.kind } | Sort-Object -Unique)
    Test-Claim 'counters are read without sessions' ($kinds.Count -eq 2) ($kinds -join ', ')
    Write-Result 'note' 'without administrator rights' 'run lostbeat record --probe counters from a normal prompt'

    # 9. A trace that another session still writes.
    $trace = Join-Path $work 'growing.etl'
    $null = logman start lbcheck -p Microsoft-Windows-Kernel-Network -ft 1 -o $trace -ets
    try {
        $did = Send-Load
        $status = Invoke-Lostbeat 'growing' @('info', $trace)
        Test-Claim 'the file of a running session can be read' ($status -eq 0 -or $status -eq 3) "status $status"
    } finally {
        $null = logman stop lbcheck -ets
    }
    $status = Invoke-Lostbeat 'stopped' @('findings', $trace)
    Test-Claim 'a capture of this Windows is understood' ($status -eq 0) "status $status"

    # 10. The screen.
    if ($Screen) {
        Write-Host 'The screen opens now. Look at all pages (keys 1 to 6), then leave it with q.'
        & $Lostbeat
        $answer = Read-Host 'Did it look right, with all columns, colours and keys? (y/n)'
        Test-Claim 'the screen looks right' ($answer -match '^[yY]') $answer
    } else {
        Write-Result 'skip' 'the screen' 'run this with -Screen to look at it'
    }
    if ($cpus -le 64) { Write-Result 'skip' 'more than 64 processors' "$cpus here" }
} catch {
    Write-Result 'fail' 'the script itself' ($_ | Out-String).Trim()
} finally {
    foreach ($session in Get-OwnSessions) { $null = logman stop $session -ets }
    $results | Set-Content -Path (Join-Path $work 'results.txt') -Encoding UTF8
    Compress-Archive -Path (Join-Path $work '*') -DestinationPath $Out -Force
    Remove-Item -Recurse -Force $work
    $failed = @($results | Where-Object { $_ -match '^fail' }).Count
    Write-Host ''
    Write-Host ('{0} failed of {1} lines. What was seen is in {2}: look at it, and attach it to an issue.' -f
        $failed, $results.Count, $Out)
}
if ($failed -gt 0) { exit 1 }
