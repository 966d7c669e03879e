r"""`@winssh`: Windows hosts over Windows' own OpenSSH server, with PowerShell instead of `sh`.

    hosts = [("@winssh/win1", {"ssh_user": "Administrator"})]

A command is PowerShell text. It goes as `powershell -EncodedCommand`, so that sshd's default shell does not
matter; a long one goes as a temporary file in the user's home and is removed afterwards. Files go over SFTP,
written aside and renamed over the old one. All of the SSH connector's data (`ssh_user`, `ssh_key`, ...) holds.

What this relies on:
- pyinfra reads output as strict UTF-8 and, at a byte that is not, stops reading and calls the command a
  success. Windows answers in a legacy code page when it likes: here bytes are read, and decoded leniently.
- powershell.exe waits for the end of its standard input: it is closed at once.
- Windows' sftp-server writes `C:\dir\file` as `/C:/dir/file`, and its `posix-rename@openssh.com` replaces.
- A file that is renamed keeps its own access list, it does not take over that of the file it replaces.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator, Mapping
from typing import IO, Any, cast

from paramiko import SFTPClient, SSHException
from pyinfra import logger
from pyinfra.api import Host
from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.output import echo
from pyinfra.api.util import get_file_io
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, read_output_buffers, write_stdin
from typing_extensions import Unpack

from provision.winssh import powershell

_UNIX_ONLY = ("_sudo", "_sudo_user", "_su_user", "_doas", "_doas_user", "_dzdo", "_dzdo_user", "_get_pty")
_SHELLS = (None, "sh", "powershell")  # "sh" is pyinfra's own default: nobody asked for it
_FIRST_ANSWER_SECONDS = 90
ANSWERED = "winssh_host"  # where the host's first answer stays, in `host.connector_data`


class WinSSHConnector(SSHConnector):
    """Connect to Windows hosts over SSH: encoded PowerShell, and files over SFTP."""

    __examples_doc__ = SSHConnector.__examples_doc__

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        if not name:
            raise ValueError("write @winssh/NAME: the name of a Windows host is missing")
        yield name, {"ssh_hostname": name}, []

    def connect(self) -> None:
        """Connect, and make sure that Windows answers and takes files. Raise ConnectError with what is wrong."""
        refused = _refusal({key: self.host.data.get(key) for key in _UNIX_ONLY})
        if refused:
            raise ConnectError(refused)
        super().connect()
        try:
            self._check_windows()
            self._check_sftp()
        except ConnectError:
            assert self.client is not None
            self.client.close()
            raise

    def run_shell_command(
        self,
        command: StringCommand | str,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        """Run PowerShell text; success is exit code 0, or one of `_success_exit_codes`."""
        refused = _refusal(arguments)
        if refused:
            return False, CommandOutput([OutputLine("stderr", refused)])
        script, shown = _raw(command), str(command)
        prefix = _prefix(arguments)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {shown}", err=True)
        logger.debug("Running PowerShell on %s: %s", self.host.name, shown)
        line = powershell.command(prefix + script)
        if line is not None:
            code, output = self._execute(line, print_output, arguments)
        else:
            code, output = self._execute_as_file(prefix + script, print_output, arguments)
        return code in (arguments.get("_success_exit_codes") or [0]), output

    def put_file(
        self,
        filename_or_io: str | io.IOBase,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> bool:
        """Write a file aside, then rename it over `remote_filename`, which is either old or new, never half.

        With `remote_temp_filename` the new content is written into that file, which keeps its access list.
        """
        refused = _refusal(arguments)
        if refused:
            logger.error(f"{self.host.print_prefix}{refused}")
            return False
        aside = sftp_path(remote_temp_filename or f"{remote_filename}.{secrets.token_hex(8)}.part")
        sftp = self._sftp()
        try:
            with get_file_io(cast("str | IO[Any]", filename_or_io)) as file:
                sftp.putfo(file, aside)  # raises OSError unless the size that arrived is the size that was sent
            sftp.posix_rename(aside, sftp_path(remote_filename))
        except (OSError, EOFError, SSHException) as error:
            self._discard(aside)
            raise OSError(f"{remote_filename} was left as it was: the upload failed ({_reason(error)})") from error
        if print_output:
            echo(f"{self.host.print_prefix}file uploaded: {remote_filename}", err=True)
        return True

    def get_file(
        self,
        remote_filename: str,
        filename_or_io: str | io.IOBase,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> bool:
        """Read a file into a local file or a binary buffer."""
        refused = _refusal(arguments)
        if refused:
            logger.error(f"{self.host.print_prefix}{refused}")
            return False
        with get_file_io(cast("str | IO[Any]", filename_or_io), "wb") as file:
            self._sftp().getfo(sftp_path(remote_filename), file)
        if print_output:
            echo(f"{self.host.print_prefix}file downloaded: {remote_filename}", err=True)
        return True

    def check_can_rsync(self) -> None:
        raise NotImplementedError("no rsync to Windows: use put_file")  # how BaseConnector.check_can_rsync has it said

    def _check_windows(self) -> None:
        try:
            _, output = self.run_shell_command(powershell.script(powershell.HOST, {}), _timeout=_FIRST_ANSWER_SECONDS)
            found = powershell.answer(output.output_lines)
        except (ValueError, OSError, SSHException) as error:
            raise ConnectError(
                f"{self.host.name} does not answer as a Windows host with PowerShell ({_reason(error)});"
                f" if it is a Unix host, list it as {self.host.name!r}, without @winssh/; if it is Windows, AppLocker"
                " or WDAC may hold PowerShell in ConstrainedLanguage: allow FullLanguage for the account that deploys"
            ) from None
        assert isinstance(found, dict)
        if found["platform"] != "Win32NT":
            raise ConnectError(
                f"{self.host.name} is not a Windows host: its PowerShell runs on {found['platform']};"
                f" list it as {self.host.name!r}, without @winssh/"
            )
        if found["language_mode"] != "FullLanguage":
            raise ConnectError(
                f"{self.host.name}: PowerShell runs in {found['language_mode']} there (AppLocker or WDAC);"
                " allow FullLanguage for the account that deploys"
            )
        self.host.connector_data[ANSWERED] = found

    def _check_sftp(self) -> None:
        try:
            self._sftp()
        except (ConnectError, SSHException, EOFError, OSError) as error:
            raise ConnectError(
                f"{self.host.name}: sshd there offers no SFTP ({_reason(error)}); add the line"
                r" `Subsystem sftp sftp-server.exe` to C:\ProgramData\ssh\sshd_config and restart the service sshd"
            ) from None

    def _execute(self, line: str, print_output: bool, arguments: dict[str, Any]) -> tuple[int, CommandOutput]:
        assert self.client is not None
        transport = self.client.get_transport()
        if transport is None:
            raise OSError("the connection is closed")
        channel = transport.open_session()
        channel.exec_command(line)
        stdin = channel.makefile_stdin("wb")
        if arguments.get("_stdin"):
            write_stdin(arguments["_stdin"], stdin)
        stdin.close()
        channel.shutdown_write()
        output = read_output_buffers(
            _lines(channel.makefile("rb")),
            _lines(channel.makefile_stderr("rb")),
            timeout=arguments.get("_timeout"),
            print_output=print_output,
            print_prefix=self.host.print_prefix,
        )
        code = channel.recv_exit_status()
        channel.close()
        if code == -1:
            raise OSError("the connection was cut before the command ended")
        errors = powershell.plain_errors(output.stderr_lines)
        kept = [item for item in output.combined_lines if item.buffer_name != "stderr"]
        return code, CommandOutput([*kept, *(OutputLine("stderr", text) for text in errors)])

    def _execute_as_file(self, script: str, print_output: bool, arguments: dict[str, Any]) -> tuple[int, CommandOutput]:
        sftp = self._sftp()
        path = f"{sftp.normalize('.').rstrip('/')}/winssh-{secrets.token_hex(16)}.ps1"
        try:
            sftp.putfo(io.BytesIO(powershell.file_bytes(script)), path)
            return self._execute(powershell.command_of_file(windows_path(path)), print_output, arguments)
        finally:
            self._discard(path)

    def _sftp(self) -> SFTPClient:
        connection = self.get_file_transfer_connection()
        assert isinstance(connection, SFTPClient)
        channel = connection.get_channel()
        if channel is None or channel.closed:
            self.get_file_transfer_connection.cache.clear()
            connection = self.get_file_transfer_connection()
            assert isinstance(connection, SFTPClient)
        return connection

    def _discard(self, path: str) -> None:
        try:
            self._sftp().remove(path)
        except (OSError, EOFError, SSHException, ConnectError) as error:
            logger.debug("Could not remove %s on %s: %s", path, self.host.name, error)


def is_windows(host: Host) -> bool:
    """Whether a host of the inventory is reached by this connector: known without asking it."""
    return issubclass(host.connector_cls, WinSSHConnector)


def sftp_path(path: str) -> str:
    r"""`C:\dir\file` as SFTP names it on Windows: `/C:/dir/file`."""
    slashed = path.replace("\\", "/")
    return f"/{slashed}" if slashed[1:2] == ":" else slashed


def windows_path(path: str) -> str:
    r"""`/C:/dir/file` as Windows names it: `C:\dir\file`."""
    return path.removeprefix("/").replace("/", "\\")


def plain_ssh_to_windows(remote_version: str) -> str | None:
    """Given what a plain SSH connection's server calls itself, say what to do when it is Windows."""
    if "for_Windows" not in remote_version:
        return None
    return "this is a Windows host: list it as @winssh/NAME, so that PowerShell is sent and not sh"


def _refusal(arguments: Mapping[str, Any]) -> str | None:
    given = [name for name in _UNIX_ONLY if arguments.get(name)]
    if given:
        return (
            f"{', '.join(given)} does not exist on Windows: connect as an administrator (ssh_user),"
            f" and set {given[0]} = False for this host"
        )
    shell = arguments.get("_shell_executable")
    if shell not in _SHELLS:
        return f"_shell_executable = {shell!r} does not exist on Windows: commands there are PowerShell"
    return None


def _prefix(arguments: dict[str, Any]) -> str:
    lines = [
        f"[Environment]::SetEnvironmentVariable({powershell.quote(name)}, {powershell.quote(str(value))})\n"
        for name, value in (arguments.get("_env") or {}).items()
    ]
    if arguments.get("_chdir"):
        lines.append(f"Set-Location -LiteralPath {powershell.quote(arguments['_chdir'])} -ErrorAction Stop\n")
    return "".join(lines)


def _raw(command: StringCommand | str) -> str:
    return command.get_raw_value() if isinstance(command, StringCommand) else command


def _lines(stream: Any) -> Iterator[str]:
    for line in stream:
        yield powershell.text(line) + "\n"


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
