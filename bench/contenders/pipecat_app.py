"""Pipecat: a pipeline from the LiveKit transport through a processor that works, and out again.

The tone is queued as synthesised speech is: faster than it is played, and the transport paces it.
"""

from __future__ import annotations

import asyncio

from pipecat.frames.frames import Frame, InputAudioRawFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.livekit.transport import LiveKitParams, LiveKitTransport
from pipecat.workers.runner import WorkerRunner

from bench.contenders.stage import RATE, Stage, nothing, orders, ready, tone


class Work(FrameProcessor):
    """The work, in the pipeline."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self._positions: dict[str, float] = {}

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, InputAudioRawFrame):
            await self.push_frame(frame, direction)
            return
        track = str(getattr(frame, "user_id", ""))
        seconds = frame.num_frames / frame.sample_rate
        position = self._positions.get(track, 0.0)
        self._positions[track] = position + seconds
        self._stage.heard(track)
        self._stage.work(track, position, seconds)


async def main() -> None:
    given = orders()
    transport = LiveKitTransport(
        given.url,
        given.token,
        given.room,
        LiveKitParams(audio_in_enabled=True, audio_out_enabled=True),
    )
    begun = asyncio.Event()
    work = Work(Stage(given, begun.set, nothing))
    pipeline = Pipeline([transport.input(), work, transport.output()])
    params = PipelineParams(audio_in_sample_rate=16_000, audio_out_sample_rate=RATE)
    worker = PipelineWorker(pipeline, params=params, cancel_on_idle_timeout=False)

    @transport.event_handler("on_connected")
    async def connected(transport: LiveKitTransport) -> None:
        ready(given)

    async def speak() -> None:
        await begun.wait()
        for _ in range(int(given.seconds) + 2):
            for piece in tone():
                await worker.queue_frame(TTSAudioRawFrame(piece.tobytes(), RATE, 1))

    speaking = asyncio.create_task(speak())
    await WorkerRunner(handle_sigint=False).run(worker)
    await speaking


if __name__ == "__main__":
    asyncio.run(main())
