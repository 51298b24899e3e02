"""What goes in and what comes out: commands, files, input, output, on a real container."""


async def test_a_command_gives_its_output_and_exit_code(python):
    result = await python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert (result.truncated, result.timed_out, result.out_of_memory) == (False, False, False)


async def test_a_shell_pipeline_runs(sandbox, spec, key):
    result = await sandbox.run(spec("bash", "-c", "printf 'b\\na\\n' | sort | awk '{print NR $1}'"), key=key)
    assert result.stdout == "1a\n2b\n"


async def test_a_command_killed_by_a_signal_ends_like_in_a_shell(python):
    assert (await python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")).exit_code == 139


async def test_an_unknown_command_is_127_and_says_which(sandbox, spec, key):
    result = await sandbox.run(spec("no-such-program"), key=key)
    assert result.exit_code == 127
    assert "no-such-program" in result.stderr


async def test_files_of_text_and_bytes_arrive_in_the_working_directory(python):
    every_byte = bytes(range(256))
    result = await python(
        "print(open('a/b/text.txt').read(), open('raw', 'rb').read() == bytes(range(256)), __import__('os').getcwd())",
        files={"a/b/text.txt": "grüße 🌍", "raw": every_byte},
    )
    assert result.stdout == "grüße 🌍 True /work\n"


async def test_files_can_be_changed_and_written_beside(python):
    result = await python(
        "open('in', 'a').write('!'); open('out', 'w').write('x'); print(open('in').read())", files={"in": "hey"}
    )
    assert result.stdout == "hey!\n"


async def test_megabytes_of_input_arrive_whole(python):
    size = 6 * 2**20
    result = await python(
        "import sys; print(len(open('big').read()), len(sys.stdin.read()))",
        files={"big": "x" * size},
        stdin="y" * size,
        limits={"memory_bytes": 256 * 2**20},
    )
    assert result.stdout == f"{size} {size}\n"


async def test_code_on_standard_input_runs(sandbox, spec, key):
    assert (await sandbox.run(spec("python3", "-", stdin="print(6 * 7)"), key=key)).stdout == "42\n"


async def test_without_standard_input_a_reader_sees_its_end(python):
    assert (await python("import sys; print(repr(sys.stdin.read()))")).stdout == "''\n"


async def test_unicode_survives_where_pieces_are_cut(python):
    text = "a" + "€🌍ß" * 20_000
    assert (await python("print('a' + '€🌍ß' * 20_000, end='')", limits={"output_bytes": 2**20})).stdout == text


async def test_bytes_that_are_no_text_become_replacement_characters(python):
    result = await python(r"import sys; sys.stdout.buffer.write(b'a\xff\x00b\r\nc')")
    assert result.stdout == "a�\x00b\r\nc"


async def test_output_beyond_the_limit_is_cut_and_said_so(python):
    code = "import sys\nfor _ in range(200): sys.stdout.write('x' * 100_000)\nsys.stderr.write('still here')"
    result = await python(code, limits={"output_bytes": 4096})
    assert result.stdout == "x" * 4096
    assert result.truncated
    assert (result.exit_code, result.stderr) == (0, "still here")


async def test_output_at_the_limit_is_whole(python):
    result = await python("print('x' * 4095)", limits={"output_bytes": 4096})
    assert len(result.stdout) == 4096
    assert not result.truncated


async def test_a_flood_of_empty_lines_stays_small_in_the_log_of_the_engine(python, container):
    result = await python("import os\nfor _ in range(64): os.write(1, b'\\n' * 16384)", limits={"output_bytes": 2**20})
    assert len(result.stdout) == 2**20
    assert len(container.get().logs().splitlines()) < 2000


async def test_the_environment_is_minimal(python):
    result = await python("import os; print(sorted(os.environ))")
    assert result.stdout == "['HOME', 'LANG', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'TMPDIR']\n"


async def test_what_a_command_leaves_running_ends_with_it(python):
    result = await python("import subprocess; subprocess.Popen(['sleep', '15'], start_new_session=True); print('done')")
    assert result.stdout == "done\n"
    assert result.duration_ms < 1500


async def test_a_writer_whose_reader_left_ends_quietly(sandbox, spec, key):
    result = await sandbox.run(spec("bash", "-c", "yes | head -1"), key=key)
    assert (result.stdout, result.stderr) == ("y\n", "")
