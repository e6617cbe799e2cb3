"""The kinds of devices that homes are made of, and that the teacher's recording does not depend on the rare ones."""

import pytest

from lib.core.paths import ROOT
from lib.data.recording import Recording
from lib.tasks.home import TASK
from lib.tasks.home.language.references import DEVICE_CLASSES
from lib.tasks.home.sampler.homes import kinds
from lib.teacher.contract import compared

CLASSES = {  # as Home Assistant's documentation of these domains has them
    "binary_sensor": """battery battery_charging carbon_monoxide cold connectivity door garage_door gas heat light lock
        moisture motion moving occupancy opening plug power presence problem running safety smoke
        sound tamper update vibration window""",
    "cover": "awning blind curtain damper door garage gate shade shutter window",
    "sensor": """absolute_humidity apparent_power aqi area atmospheric_pressure battery blood_glucose_concentration
        carbon_dioxide carbon_monoxide conductivity current data_rate data_size date distance
        duration energy energy_distance energy_storage enum frequency gas humidity illuminance
        irradiance moisture monetary nitrogen_dioxide nitrogen_monoxide nitrous_oxide ozone ph pm1
        pm25 pm4 pm10 power_factor power precipitation precipitation_intensity pressure
        reactive_energy reactive_power signal_strength sound_pressure speed sulphur_dioxide
        temperature temperature_delta timestamp volatile_organic_compounds
        volatile_organic_compounds_parts voltage volume volume_flow_rate volume_storage water weight
        wind_direction wind_speed""",
}


@pytest.mark.parametrize("domain", CLASSES)
def test_every_device_class_has_a_token_and_devices(domain: str) -> None:
    for device_class in CLASSES[domain].split():
        assert device_class in DEVICE_CLASSES
        assert kinds()[domain, device_class].nouns


def test_rare_kinds_are_rare() -> None:
    common = sum(kind.weight for kind in kinds(rare=False).values())
    assert sum(kind.weight for kind in kinds().values()) < 1.2 * common


def test_the_recording_has_every_prompt_of_its_tests() -> None:
    recording = Recording.read(TASK, ROOT / "lib/tasks/home/recordings")
    asked = [(e.text, e.context) for e in recording.tests[::20]]
    systems = compared(recording.task, recording.pool, recording.replay, recording.provenance["parameters"]["systems"])
    assert all(len(system.answer_many(asked)) == len(asked) for system in systems)
