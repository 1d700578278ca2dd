"""LiveKit Agents: a server that gets the job of the room, and the room's tracks in the job.

The entrypoint is that of their documentation for custom audio: `ctx.connect`, an `AudioStream` for
each track, and an `AudioSource` for what is said. The job has a process of its own, in which the
room and the work share a loop.
"""

from __future__ import annotations

import asyncio

from livekit.agents import AgentServer, JobContext, JobRequest

from bench.contenders.plain import App
from bench.contenders.stage import orders, ready


async def entrypoint(ctx: JobContext) -> None:
    app = App(ctx.room, "inline")
    await ctx.connect()
    await app.play()


async def accept(request: JobRequest) -> None:
    await request.accept(identity=orders().identity)


async def main() -> None:
    given = orders()
    server = AgentServer(
        ws_url=given.url, api_key=given.key, api_secret=given.secret, num_idle_processes=1
    )
    server.rtc_session(entrypoint, on_request=accept)
    server.on("worker_registered", lambda *_: ready(given))
    await server.run(devmode=True)


if __name__ == "__main__":
    # Jobs import the entrypoint by name, and not from the script that was started.
    from bench.contenders import agent

    asyncio.run(agent.main())
