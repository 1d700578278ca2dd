"""The contract of a provider, kept by ``livekit`` on a real server.

The people in the room are plain clients of LiveKit's SDK, which knows nothing of ringroom.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from livekit import api, rtc
from livekit.rtc.data_stream import StreamError

import ringroom
from integration.clients.relay import Relay
from ringroom.dtmf import DIGITS, DtmfFrame
from ringroom.errors import RpcError
from ringroom.events import Participant
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    FileFrame,
    TextFrame,
    VideoFrame,
)
from ringroom.testing import contract
from ringroom.testing.contract.fake import FAKE
from ringroom.testing.server import LiveKitRoom, LiveKitServer
from ringroom.testing.written import WrittenText

APP = "app"
RATE = 48_000
# The application's signalling alone goes through a relay, and can be lost.
NOT_RELAYED = 1
# Seconds until the SDK has made a connection anew, on a machine that has other things to do.
RECONNECTING = 25.0
SOURCES = {
    "SOURCE_MICROPHONE": "microphone",
    "SOURCE_CAMERA": "camera",
    "SOURCE_SCREENSHARE": "screen_share",
    "SOURCE_SCREENSHARE_AUDIO": "screen_share_audio",
}
QUALITIES = {
    rtc.ConnectionQuality.QUALITY_EXCELLENT: "excellent",
    rtc.ConnectionQuality.QUALITY_GOOD: "good",
    rtc.ConnectionQuality.QUALITY_POOR: "poor",
    rtc.ConnectionQuality.QUALITY_LOST: "lost",
}
CLAIMS = replace(
    FAKE,  # everything, but
    broken_connection=False,
    refusals=False,
    stereo=False,
    lossless_audio=False,
    lossless_data_tracks=False,
    exact_video=False,
    rotation=False,
    timestamps=False,
    patience=8.0,
    close_seconds=3.0,
)


class LiveKitDriver:
    """The people of one room, on an event loop of their own. The first who joins listens."""

    def __init__(self, room: LiveKitRoom, relay: Relay) -> None:
        self._room = room
        self._relay = relay
        self._rooms: dict[str, Any] = {}
        self._profiles: dict[str, Participant] = {}
        self._tracks: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._sounds: dict[str, list[np.ndarray]] = defaultdict(list)
        self._heard: dict[tuple[str, str], int] = defaultdict(int)
        """How much others than the first have heard, in samples, by who and track."""
        self._pictures: dict[str, list[VideoFrame]] = defaultdict(list)
        self._readings: dict[str, list[DataTrackFrame]] = defaultdict(list)
        self._data_tracks: dict[str, Any] = {}
        """Of the application's, by name."""
        self._messages: dict[str, list[DataFrame | StreamError | None]] = defaultdict(list)
        """None in the place of a text or a file that has not come whole yet, and the error in the
        place of one that never will."""
        self._texts: dict[str, list[WrittenText]] = defaultdict(list)
        self._qualities: dict[str, str] = {}
        """Of each person's connection, as they were told themselves."""
        self._listening: list[asyncio.Task[None]] = []
        self._joins: list[concurrent.futures.Future[None]] = []
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _start(self, call: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def _run(self, call: Coroutine[Any, Any, Any], seconds: float = 20.0) -> Any:
        return self._start(call).result(seconds)

    # People

    def join(self, who: str) -> None:
        self.join_as(who, "standard")

    def join_as(self, who: str, kind: str) -> None:
        joining = self._start(self._join(who, kind))
        self._joins.append(joining)
        joining.result(20)

    async def _join(self, who: str, kind: str) -> None:
        room = self._rooms[who] = rtc.Room(loop=self._loop)

        def subscribed(track: Any, publication: Any, participant: Any) -> None:
            if participant.identity == APP and room is next(iter(self._rooms.values())):
                listen = self._hear if track.kind == rtc.TrackKind.KIND_AUDIO else self._see
                self._listening.append(self._loop.create_task(listen(track, publication.name)))

            elif participant.identity == APP and track.kind == rtc.TrackKind.KIND_AUDIO:
                counting = self._count(who, track, publication.name)
                self._listening.append(self._loop.create_task(counting))

        def received(packet: Any) -> None:
            sender = packet.participant.identity if packet.participant else ""
            kept = packet.kind == rtc.DataPacketKind.KIND_RELIABLE
            frame = DataFrame(bytes(packet.data), packet.topic or "", sender, reliable=kept)
            self._messages[who].append(frame)

        def data_track(track: rtc.RemoteDataTrack) -> None:
            if track.publisher_identity == APP and room is next(iter(self._rooms.values())):
                self._data_tracks[track.info.name] = track
                self._listening.append(self._loop.create_task(self._read(track)))

        room.on("track_subscribed", subscribed)
        room.on("data_track_published", data_track)

        def pressed(key: rtc.SipDTMF) -> None:
            sender = key.participant.identity if key.participant else ""
            # Letters travel in small, as LiveKit SIP has them.
            assert key.code == DIGITS.index(key.digit.upper())
            self._messages[who].append(DtmfFrame(key.digit.upper(), participant=sender))

        def judged(person: rtc.Participant, quality: int) -> None:
            if person is room.local_participant:
                self._qualities[who] = QUALITIES[quality]

        room.on("connection_quality_changed", judged)
        room.on("data_received", received)
        room.on("sip_dtmf_received", pressed)
        for topic in contract.TEXT_TOPICS:
            room.register_text_stream_handler(topic, partial(self._begin_text, who))
        for topic in contract.FILE_TOPICS:
            room.register_byte_stream_handler(topic, partial(self._begin_file, who))
        profile = replace(self._profiles.get(who, Participant(identity=who)), kind=kind)
        token = self._room.token(who, profile=profile, can_update_own_metadata=True)
        await room.connect(self._room.url, token)

    def _begin_text(self, who: str, reader: Any, sender: str) -> None:
        messages, texts = self._messages[who], self._texts[who]
        place, number = len(messages), len(texts)
        messages.append(None)
        # A copy, for the reader adds those of the end to its own.
        topic, attributes = reader.info.topic, dict(reader.info.attributes)
        beginning = WrittenText(participant=sender, topic=topic, to=(), attributes=attributes)
        texts.append(beginning)

        async def read() -> None:
            try:
                async for piece in reader:
                    texts[number] = replace(texts[number], pieces=(*texts[number].pieces, piece))
            except StreamError as error:
                texts[number] = replace(texts[number], ended=True, reason=error.description)
                messages[place] = error
                return
            last = dict(reader.info.attributes)
            texts[number] = replace(texts[number], ended=True, attributes=last)
            text = texts[number].text.encode()
            messages[place] = TextFrame(text, topic, sender, attributes=last)

        self._listening.append(self._loop.create_task(read()))

    def _begin_file(self, who: str, reader: Any, sender: str) -> None:
        place = len(self._messages[who])
        self._messages[who].append(None)

        async def read() -> None:
            try:
                payload, info = b"".join([piece async for piece in reader]), reader.info
            except StreamError as error:
                self._messages[who][place] = error
                return
            self._messages[who][place] = FileFrame(
                payload,
                info.topic,
                sender,
                name=info.name,
                mime_type=info.mime_type,
                attributes=info.attributes,
            )

        self._listening.append(self._loop.create_task(read()))

    def describe(self, who: str, name: str, metadata: str, attributes: Mapping[str, str]) -> None:
        profile = Participant(identity=who, name=name, metadata=metadata, attributes=attributes)
        self._profiles[who] = profile
        if who in self._rooms:
            self._run(self._describe(self._rooms[who].local_participant, profile))

    async def _describe(self, person: Any, profile: Participant) -> None:
        await person.set_name(profile.name)
        await person.set_metadata(profile.metadata)
        gone = dict.fromkeys(person.attributes, "")
        await person.set_attributes({**gone, **profile.attributes})

    def describe_room(self, metadata: str) -> None:
        request = api.UpdateRoomMetadataRequest(room=self._room.name, metadata=metadata)
        self._run(self._ask_server(lambda rooms: rooms.update_room_metadata(request)))

    def quality(self, who: str) -> str:
        if not who:
            return "excellent"  # of who publishes nothing
        self._qualities.clear()
        # With one more in the room the server tells everybody again, within 5 s.
        self.join("witness")
        self._run(self._judged(who))
        return self._qualities[who]

    async def _judged(self, who: str) -> None:
        while who not in self._qualities:
            await asyncio.sleep(0.05)

    def leave(self, who: str) -> None:
        self._run(self._rooms[who].disconnect())

    def people(self) -> set[str]:
        ann = next(iter(self._rooms.values()))
        return {ann.local_participant.identity, *ann.remote_participants}

    # What they say and show

    def publish_audio(self, who: str, track: str, sample_rate: int, channels: int) -> None:
        source = rtc.AudioSource(sample_rate, channels, queue_size_ms=200, loop=self._loop)
        self._run(self._publish(who, track, source, rtc.LocalAudioTrack.create_audio_track))

    def publish_video(self, who: str, track: str) -> None:
        source = rtc.VideoSource(64, 48)
        self._run(self._publish(who, track, source, rtc.LocalVideoTrack.create_video_track))

    def publish_layers(self, who: str, track: str) -> None:
        source = rtc.VideoSource(*contract.LAYERED)
        self._run(self._publish(who, track, source, rtc.LocalVideoTrack.create_video_track))

    async def _publish(self, who: str, track: str, source: Any, make: Callable[..., Any]) -> None:
        person = self._rooms[who].local_participant
        sound = isinstance(source, rtc.AudioSource)
        kind = rtc.TrackSource.SOURCE_MICROPHONE if sound else rtc.TrackSource.SOURCE_CAMERA
        options = rtc.TrackPublishOptions(source=kind, simulcast=True)
        publication = await person.publish_track(make(track, source), options)
        self._tracks[who, track] = (publication, source)
        # Who does not want the track never subscribes to it.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(publication.wait_for_subscription(), 3.0)

    def publish_data_track(self, who: str, track: str) -> None:
        publishing = self._rooms[who].local_participant.publish_data_track(name=track)
        self._tracks[who, track] = (self._run(publishing), None)

    def push(self, who: str, track: str, payload: bytes, timestamp: int | None) -> None:
        local, _ = self._tracks[who, track]
        with contextlib.suppress(rtc.PushFrameError):  # it may be lost like any other
            local.try_push(rtc.DataTrackFrame(payload, timestamp))

    def unpublish(self, who: str, track: str) -> None:
        publication, _ = self._tracks[who, track]
        if isinstance(publication, rtc.LocalDataTrack):
            self._run(publication.unpublish())
            return
        self._run(self._rooms[who].local_participant.unpublish_track(publication.sid))

    def mute(self, who: str, track: str, muted: bool) -> None:
        publication, _ = self._tracks[who, track]
        (publication.track.mute if muted else publication.track.unmute)()

    def speak(self, who: str, track: str, sound: AudioFrame) -> None:
        _, source = self._tracks[who, track]
        self._run(self._speak(source, sound), 20 + sound.duration)

    async def _speak(self, source: Any, sound: AudioFrame) -> None:
        step = sound.sample_rate // 100
        for start in range(0, len(sound.samples), step):
            piece = np.ascontiguousarray(sound.samples[start : start + step])
            frame = rtc.AudioFrame(piece.tobytes(), sound.sample_rate, sound.channels, len(piece))
            await source.capture_frame(frame)

    def show(self, who: str, track: str, picture: VideoFrame) -> None:
        _, source = self._tracks[who, track]
        size = (picture.width, picture.height)
        frame = rtc.VideoFrame(*size, rtc.VideoBufferType.I420, picture.data.tobytes())

        async def capture() -> None:
            source.capture_frame(frame)
            # An encoder drops what comes faster than pictures do.
            await asyncio.sleep(0.1)

        self._run(capture())

    def send_data(self, who: str, payload: bytes, topic: str, to: tuple[str, ...]) -> None:
        person = self._rooms[who].local_participant
        self._run(
            person.publish_data(
                payload, reliable=True, destination_identities=list(to), topic=topic
            )
        )

    def send_text(self, who: str, text: str, topic: str, attributes: Mapping[str, str]) -> None:
        person = self._rooms[who].local_participant
        self._run(person.send_text(text, topic=topic, attributes=dict(attributes)))

    def press(self, who: str, digits: str) -> None:
        person = self._rooms[who].local_participant
        for digit in digits:
            self._run(person.publish_dtmf(code=DIGITS.index(digit), digit=digit))

    def send_file(self, who: str, file: FileFrame) -> None:
        async def send() -> None:
            writer = await self._begin_sending(who, file)
            if file.payload:
                await writer.write(file.payload)
            await writer.aclose()

        self._run(send())

    def break_off_file(self, who: str, file: FileFrame) -> None:
        async def begin() -> None:
            writer = await self._begin_sending(who, file)
            await writer.write(file.payload)
            await writer.aclose(reason="it is broken off")

        self._run(begin())

    async def _begin_sending(self, who: str, file: FileFrame) -> Any:
        return await self._rooms[who].local_participant.stream_bytes(
            file.name,
            total_size=len(file.payload),
            mime_type=file.mime_type,
            attributes=dict(file.attributes),
            topic=file.topic,
        )

    def call(self, who: str, method: str, payload: str, seconds: float) -> str:
        asking = self._rooms[who].local_participant.perform_rpc(
            destination_identity=APP,
            method=method,
            payload=payload,
            # So much of it is for the way, and the application is told of the rest.
            response_timeout=seconds + 1.0,
            max_round_trip_latency=1.0,
        )
        try:
            answer: str = self._run(asking, 2 * seconds + 20)
        except rtc.RpcError as error:
            raise RpcError(error.message, code=error.code, data=error.data or "") from None
        return answer

    def answer(self, who: str, method: str, function: Callable[[str, str, float], Any]) -> None:
        async def handle(call: rtc.RpcInvocationData) -> str:
            try:
                text = function(call.caller_identity, call.payload, call.response_timeout)
            except RpcError as error:
                raise rtc.RpcError(error.code, str(error), error.data) from None
            return await self._loop.create_future() if text is None else text

        async def register() -> None:
            self._rooms[who].local_participant.register_rpc_method(method, handle)

        self._run(register())

    def break_off_text(self, who: str, text: str, topic: str) -> None:
        async def begin() -> None:
            writer = await self._rooms[who].local_participant.stream_text(topic=topic)
            await writer.write(text)
            await writer.aclose(reason="it is broken off")

        self._run(begin())

    def send_unreliably(self, who: str, payload: bytes) -> None:
        self._run(self._rooms[who].local_participant.publish_data(payload, reliable=False))

    # What they hear and see of the application

    async def _hear(self, track: Any, name: str) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
        try:
            async for event in stream:
                self._sounds[name].append(np.frombuffer(event.frame.data, np.int16).copy())
        finally:
            await stream.aclose()

    async def _see(self, track: Any, name: str) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.I420)
        try:
            async for event in stream:
                frame = event.frame
                picture = VideoFrame(bytes(frame.data), frame.width, frame.height)
                self._pictures[name].append(picture)
        finally:
            await stream.aclose()

    async def _count(self, who: str, track: Any, name: str) -> None:
        """What another than the first hears."""
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
        try:
            async for event in stream:
                self._heard[who, name] += event.frame.samples_per_channel
        finally:
            await stream.aclose()

    def hears(self, who: str, track: str) -> bool:
        def heard() -> int:
            if who == next(iter(self._rooms)):
                return sum(map(len, self._sounds[track]))
            return self._heard[who, track]

        async def a_while() -> int:
            before = heard()
            await asyncio.sleep(0.5)
            return heard() - before

        return int(self._run(a_while())) > RATE // 10

    async def _read(self, track: rtc.RemoteDataTrack) -> None:
        stream = track.subscribe()
        try:
            async for frame in stream:
                reading = DataTrackFrame(frame.payload, timestamp=frame.user_timestamp)
                self._readings[track.info.name].append(reading)
        finally:
            stream.close()

    def pushed(self, track: str) -> Sequence[DataTrackFrame]:
        return list(self._readings[track])

    def heard(self, track: str) -> AudioFrame | None:
        parts = list(self._sounds[track])
        return AudioFrame(np.concatenate(parts), RATE) if parts else None

    def seen(self, track: str) -> Sequence[VideoFrame]:
        return list(self._pictures[track])

    def received(self, who: str) -> Sequence[DataFrame]:
        # What has come whole after one that is under way still is not told before it.
        come = itertools.takewhile(lambda one: one is not None, list(self._messages[who]))
        return [message for message in come if isinstance(message, DataFrame)]

    def texts(self, who: str) -> Sequence[WrittenText]:
        return list(self._texts[who])

    def _published(self) -> dict[str, Any]:
        ann = next(iter(self._rooms.values()))
        app = ann.remote_participants.get(APP)
        return {} if app is None else {one.name: one for one in app.track_publications.values()}

    def tracks(self) -> set[str]:
        data = {name for name, track in self._data_tracks.items() if track.is_published()}
        return {*self._published(), *data}

    def profile(self) -> Participant | None:
        app = next(iter(self._rooms.values())).remote_participants.get(APP)
        if app is None:
            return None
        attributes = dict(app.attributes)
        return Participant(
            identity=APP, name=app.name, metadata=app.metadata, attributes=attributes
        )

    def source(self, track: str) -> str:
        if track not in self._published():
            return ""
        name = rtc.TrackSource.Name(self._published()[track].source)
        return SOURCES[name]

    # The room itself

    async def _ask_server(self, call: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
        server = self._room.server
        url = server.url.replace("ws", "http", 1)
        async with api.LiveKitAPI(url, server.api_key, server.api_secret) as admin:
            await call(admin.room)

    def muted(self, track: str) -> bool:
        return bool(self._published()[track].muted)

    def close_room(self) -> None:
        request = api.DeleteRoomRequest(room=self._room.name)
        self._run(self._ask_server(lambda rooms: rooms.delete_room(request)))

    def remove(self) -> None:
        request = api.RoomParticipantIdentity(room=self._room.name, identity=APP)
        self._run(self._ask_server(lambda rooms: rooms.remove_participant(request)))

    def moderate(self, track: str, muted: bool) -> None:
        sid = self._published()[track].sid
        request = api.MuteRoomTrackRequest(
            room=self._room.name, identity=APP, track_sid=sid, muted=muted
        )
        self._run(self._ask_server(lambda rooms: rooms.mute_published_track(request)))

    def forbid_publishing(self) -> None:
        allowed = api.ParticipantPermission(can_subscribe=True, can_publish_data=True)
        request = api.UpdateParticipantRequest(
            room=self._room.name, identity=APP, permission=allowed
        )
        self._run(self._ask_server(lambda rooms: rooms.update_participant(request)))

    def lose_connection(self) -> None:
        self._relay.sever()

    def restore_connection(self) -> None:
        self._relay.mend()

    def close(self) -> None:
        async def quiet() -> None:
            for task in self._listening:
                task.cancel()
            await asyncio.gather(*self._listening, return_exceptions=True)

        async def stop() -> None:
            await quiet()
            for room in self._rooms.values():
                with contextlib.suppress(Exception):
                    await room.disconnect()
            await quiet()  # to a track that has come meanwhile

        # A join that still lasts must not lose its loop: the SDK would end this whole process.
        concurrent.futures.wait(self._joins, 90)
        self._run(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        # It ends what still runs there: a room that the server closed listens on until the SDK has
        # said its last word, and leaving such a room does not wait for that.
        self._runner.close()


@pytest.fixture(scope="session")
def io_process() -> Iterator[ringroom.IOProcess]:
    """One process for all: to load the SDK takes longer than most promises."""
    with ringroom.IOProcess() as process:
        yield process


Subjects = Callable[..., contract.Subject]


@pytest.fixture
def subject_by(livekit_server: LiveKitServer, io_process: ringroom.IOProcess) -> Subjects:
    """The subject whose media passes the SDK that way; ``relayed``, its connection can be lost."""

    def subject(sdk_path: str, relayed: bool = False) -> contract.Subject:
        @contextlib.contextmanager
        def rooms() -> Iterator[contract.Room]:
            room = livekit_server.room("contract")
            with Relay(room.url, NOT_RELAYED) as relay:
                driver = LiveKitDriver(room, relay)
                url = relay.url if relayed else room.url
                try:
                    token = room.token(APP, can_update_own_metadata=True)
                    options = {"url": url, "token": token, "sdk_path": sdk_path}
                    yield contract.Room(provider="livekit", options=options, driver=driver)
                finally:
                    driver.close()

        return contract.Subject(
            name="livekit",
            rooms=rooms,
            capabilities=replace(CLAIMS, patience=RECONNECTING) if relayed else CLAIMS,
            io=io_process,
            deadline=4 * RECONNECTING,
        )

    return subject


# What parametrises is only the list of promises: the server is not there yet.
@contract.parametrize(replace(contract.fake_subject(), name="livekit", capabilities=CLAIMS))
def test_livekit(case: contract.Case, subject_by: Subjects) -> None:
    relayed = "connection_loss" in case.promise.needs
    replace(case, subject=subject_by("direct", relayed))()


# What the two ways do differently; the rest is the same code above them.
OF_THE_WAY = (
    "no_sound_is_lost_on_the_way_in",
    "sound_keeps_its_pitch_and_level",
    "a_track_ends_after_its_last_frame",
    "pictures_arrive_in_order_and_once",
    "readings_arrive_in_order_and_once",
    "readings_arrive_as_they_were_sent",
    "a_data_track_is_told_from_its_beginning_to_its_end",
    "no_sound_is_lost_on_the_way_out",
    "sound_of_ours_keeps_its_pitch_and_level",
    "speech_waits_for_the_room",
    "sound_after_a_flush_is_heard",
    "what_we_send_on_a_muted_track_is_not_heard",
)


@pytest.mark.parametrize("name", OF_THE_WAY)
def test_livekit_by_the_public_api(name: str, subject_by: Subjects) -> None:
    (promise,) = (one for one in contract.PROMISES if one.name == name)
    contract.Case(subject=subject_by("public"), promise=promise)()
