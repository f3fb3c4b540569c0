// Every small request, geometry and policy: the segments tile it and each may travel its road.
import DirectIO
import Testing

@Suite struct SegmentPlanTests {
    static let geometries = [
        DirectGeometry(memoryAlignment: 4, offsetAlignment: 512),
        DirectGeometry(memoryAlignment: 512, offsetAlignment: 512),
        DirectGeometry(memoryAlignment: 512, offsetAlignment: 4096, readOffsetAlignment: 512),
        DirectGeometry(memoryAlignment: 4096, offsetAlignment: 8192),
    ]

    @Test(arguments: geometries, MisalignmentPolicy.allCases)
    func segmentsTileEveryRequest(geometry: DirectGeometry, policy: MisalignmentPolicy) {
        // Around each boundary that matters: 0, blocks, pages, two pages.
        var points: [Int] = []
        for base in [0, 512, 1024, 3584, 4096, 4608, 8192, 12288, 16384, 24576] {
            for delta in [-1, 0, 1] where base + delta >= 0 { points.append(base + delta) }
        }
        for offset in points {
            for end in points where end >= offset {
                for memory in [0, 1, 4, 511, 512, 4096] as [UInt] {
                    for isWrite in [false, true] {
                        check(
                            UInt64(offset), end - offset, 0x10_0000 + memory, isWrite, geometry,
                            policy)
                    }
                }
            }
        }
    }

    private func check(
        _ offset: UInt64, _ byteCount: Int, _ memory: UInt, _ isWrite: Bool,
        _ geometry: DirectGeometry, _ policy: MisalignmentPolicy
    ) {
        let plan = SegmentPlan.make(
            offset: offset, byteCount: byteCount, memoryAddress: memory, isWrite: isWrite,
            geometry: geometry, policy: policy)
        let block = UInt64(isWrite ? geometry.offsetAlignment : geometry.readOffsetAlignment)
        var good = plan.count <= 3 && (byteCount > 0) == (plan.count > 0)
        var position = offset
        for index in 0..<plan.count {
            let segment = plan[index]
            good = good && segment.byteCount > 0 && segment.offset == position
            good = good && UInt64(segment.bufferOffset) == position - offset
            position = segment.end
            let fitsFile = segment.offset % block == 0 && segment.end % block == 0
            let address = memory + UInt(segment.bufferOffset)
            switch segment.road {
            case .direct:
                good = good && fitsFile && address % UInt(geometry.memoryAlignment) == 0
            case .bounceDirect: good = good && fitsFile && policy != .rpc
            case .bounceRead:
                let wide = segment.widened(to: geometry)
                good = good && policy == .local && !isWrite && plan.count == 1
                good = good && wide.offset <= segment.offset && wide.offset % block == 0
                good = good && wide.offset + UInt64(wide.byteCount) >= segment.end
                good = good && UInt64(wide.byteCount) % block == 0
            case .buffered: good = good && policy == .local && isWrite
            case .rpc: good = good && policy != .local
            }
            // Where two segments meet, a page begins.
            if index > 0 { good = good && segment.offset % 4096 == 0 }
        }
        good = good && position == offset + UInt64(byteCount)
        let fits = offset % block == 0 && UInt64(byteCount) % block == 0
        if byteCount > 0 && fits && memory % UInt(geometry.memoryAlignment) == 0 {
            good = good && plan.isDirect
        }
        if policy == .rpc { good = good && plan.count <= 1 }
        #expect(good, "\(offset)+\(byteCount) at \(memory), write \(isWrite), \(geometry): \(plan)")
    }

    @Test func withoutDirectIOOnlyLocalStaysLocal() {
        for policy in MisalignmentPolicy.allCases {
            let plan = SegmentPlan.make(
                offset: 0, byteCount: 4096, memoryAddress: 0, isWrite: true, geometry: nil,
                policy: policy)
            #expect(plan.count == 1 && plan[0].road == (policy == .local ? .buffered : .rpc))
        }
    }

    @Test func splitSendsTheMiddleDirectAndTheEdgesByRPC() {
        let geometry = DirectGeometry(memoryAlignment: 4, offsetAlignment: 512)
        let plan = SegmentPlan.make(
            offset: 100, byteCount: 12_288, memoryAddress: 100, isWrite: true,
            geometry: geometry, policy: .split)
        #expect(plan.count == 3)
        let expected = [
            Segment(offset: 100, byteCount: 3996, bufferOffset: 0, road: .rpc),
            Segment(offset: 4096, byteCount: 8192, bufferOffset: 3996, road: .direct),
            Segment(offset: 12_288, byteCount: 100, bufferOffset: 12_188, road: .rpc),
        ]
        #expect((0..<3).map { plan[$0] } == expected)
    }

    @Test func anOffsetPastTheLargestFileIsForTheServer() {
        let plan = SegmentPlan.make(
            offset: .max - 10, byteCount: 4096, memoryAddress: 0, isWrite: true,
            geometry: Self.geometries[0], policy: .local)
        #expect(plan.count == 1 && plan[0].road == .rpc)
    }
}
